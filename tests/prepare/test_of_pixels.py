"""DNNs that take pixels and normalize them: the same function as the DNN that takes numbers."""

from dataclasses import replace
from typing import Any

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import DNNS, photograph, tensor_of
from onnx import TensorProto, helper, numpy_helper

from bench.prepare.dnns.of_pixels import build
from pipelines import tasks
from pipelines.paths import REPOSITORY
from pipelines.tasks import Dnn
from pipelines.tasks.tensors import ModelInput, TensorSpec

SIDE = 6
FIRST = ModelInput(SIDE, SIDE, "stretch")
KERNEL = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
CONVOLUTION = helper.make_node("Conv", ["input", "kernel"], ["output"])
PADDED = helper.make_node("Conv", ["input", "kernel"], ["output"], pads=[1, 1, 1, 1])
OUTPUTS = {"Conv": ("N", 4, "height", "width")}
SUM = helper.make_node("ReduceSum", ["input"], ["output"], keepdims=0)


def made(*nodes: Any, input: ModelInput) -> bytes:
    """A network of these nodes."""
    kind = TensorProto.FLOAT16 if input.type == "fp16" else TensorProto.FLOAT
    given = helper.make_tensor_value_info("input", kind, ["N", *input.shape])
    taken = helper.make_tensor_value_info("output", kind, OUTPUTS.get(nodes[0].op_type, ()))
    kernel = numpy_helper.from_array(KERNEL, "kernel")
    graph = helper.make_graph(list(nodes), "made", [given], [taken], [kernel])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def run(data: bytes, tensor: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(["output"], {"input": tensor[None]})
    return found


@pytest.mark.parametrize(
    ("node", "changes", "kinds"),
    [
        pytest.param(CONVOLUTION, {}, ["Cast", "Conv"], id="all-in-the-convolution"),
        pytest.param(PADDED, {}, ["Cast", "Sub", "Conv"], id="padded"),
        pytest.param(PADDED, {"mean": (0, 0, 0)}, ["Cast", "Conv"], id="padded-mean-of-0"),
        pytest.param(SUM, {}, ["Cast", "Sub", "Mul", "ReduceSum"], id="no-convolution"),
        pytest.param(SUM, {"layout": "NHWC"}, ["Cast", "Sub", "Mul", "ReduceSum"], id="nhwc"),
        pytest.param(SUM, {"type": "fp16"}, ["Cast", "Sub", "Mul", "Cast", "ReduceSum"], id="fp16"),
    ],
)
def test_pixels_give_what_their_numbers_give(
    node: Any, changes: dict[str, Any], kinds: list[str]
) -> None:
    dnn = Dnn("made", replace(FIRST, **changes), (TensorSpec("output", np.float32, (1,)),))
    plain = made(node, input=dnn.input)
    folded = build(plain, dnn)
    assert [each.op_type for each in onnx.load_from_string(folded).graph.node] == kinds
    pixels = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    expected = run(plain, dnn.input.normalize(pixels))
    found = run(folded, dnn.input.of_pixels().normalize(pixels))
    assert found.dtype == expected.dtype
    scale = np.abs(expected).max()
    close = 1e-2 if dnn.input.type == "fp16" else 1e-5
    np.testing.assert_allclose(found / scale, expected / scale, atol=close)


@pytest.mark.parametrize("name", [task.dnn.model for task in tasks.tasks()])
def test_a_dnn_of_pixels_says_what_the_dnn_says(name: str) -> None:
    dnn, pixels = DNNS[name], DNNS[name].of_pixels()
    image = photograph("astronaut")
    numbers, levels = (tensor_of(image, one.input) for one in (dnn, pixels))
    assert levels.nbytes * 4 == numbers.nbytes
    files = [REPOSITORY / one.model / "1" / "model.onnx" for one in (dnn, pixels)]
    expected, found = networks.run(files[0], dnn, numbers), networks.run(files[1], pixels, levels)
    for spec in dnn.outputs:
        before, after = expected[spec.name], found[spec.name]
        np.testing.assert_allclose(after, before, atol=2e-3 * np.abs(before).max())


def test_where_there_is_no_image_pixels_have_the_level_that_becomes_0() -> None:
    letterbox = replace(FIRST, fit="letterbox").of_pixels()
    tensor = letterbox.normalize(np.zeros((SIDE, 2, 3), np.uint8))
    assert not tensor[:, :, :2].any()
    assert (tensor[:, :, 2:] == np.array([124, 116, 104]).reshape(3, 1, 1)).all()
