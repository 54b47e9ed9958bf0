"""The built DNNs as tests run them, and the photographs they see."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from need import need_built
from PIL import Image

from bench.prepare import pins
from bench.prepare.pins import read_members
from pipelines import tasks
from pipelines.paths import REPOSITORY
from pipelines.tasks import Dnn
from pipelines.tasks.tensors import ModelInput, Tensors

ROOT = Path(__file__).parents[2]
DOWNLOADS = ROOT / pins.DOWNLOADS

DNNS = {dnn.model: dnn for dnn in tasks.dnns()}


@cache
def _session(model: str) -> onnxruntime.InferenceSession:
    path = REPOSITORY / model / "1" / "model.onnx"
    need_built(path.exists(), f"{model} is not built")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options)


def ask(dnn: Dnn, tensor: npt.NDArray[np.float32]) -> Tensors:
    """Every output of the DNN as it is built here for an image's [3,height,width], checked."""
    names = [spec.name for spec in dnn.outputs]
    outputs = [output[0] for output in _session(dnn.model).run(names, {"input": tensor[None]})]
    for spec, output in zip(dnn.outputs, outputs, strict=True):
        assert (output.shape, output.dtype) == (spec.shape, spec.dtype)
    return dict(zip(names, outputs, strict=True))


def photograph(name: str) -> Image.Image:
    data = read_members([name], downloads=DOWNLOADS)[name]
    return Image.open(io.BytesIO(data)).convert("RGB")


def tensor_of(image: Image.Image, model_input: ModelInput) -> npt.NDArray[np.float32]:
    """What the DNN is given of the image: [1,3,height,width]."""
    place = model_input.place(*image.size)
    right, bottom = place.left + place.width, place.top + place.height
    resized = image.resize(
        (place.to_width, place.to_height),
        Image.Resampling.BILINEAR,
        box=(place.left, place.top, right, bottom),
    )
    return model_input.normalize(np.asarray(resized))[None]


def run(model: Path | bytes, dnn: Dnn, tensors: npt.NDArray[np.float32]) -> Tensors:
    """Every output of the DNN for a batch."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in dnn.outputs]
    return dict(zip(names, session.run(names, {"input": tensors}), strict=True))


def run_one(model: Path | bytes, dnn: Dnn, image: Image.Image) -> Tensors:
    """Every output of the DNN for an image, without the batch."""
    outputs = run(model, dnn, tensor_of(image, dnn.input))
    return {name: output[0] for name, output in outputs.items()}
