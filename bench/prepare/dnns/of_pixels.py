"""A DNN in ONNX made to take pixels, uint8 of 0 to 255, and to normalise them itself.

The deviation is folded into the kernel of the first convolution, where the input goes nowhere else.
So is the mean where that convolution pads with nothing, or where it is 0: what is padded with 0
has to be 0 after normalising, which the level of the mean is only after it was subtracted. Else
the mean is subtracted in front. All of it is then the same function as before, but for rounding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from pipelines.tasks import Dnn

_NORMAL = "visiontax.normal"
_LEAST_OPSET = 7
"""From it on operators broadcast as NumPy does."""

_LEAST_IR = 4
"""From it on constants need not be inputs of the graph, too."""

Floats = npt.NDArray[np.float64]


def build(data: bytes, dnn: Dnn) -> bytes:
    """Return the model; `data` is that of the DNN, which takes normalised numbers.

    Raises ValueError, or onnx's or protobuf's own errors, where that is not all of a model.
    """
    model = onnx.load_from_string(data)
    graph, name = model.graph, dnn.input.name
    if any(each.data_location == TensorProto.EXTERNAL for each in graph.initializer):
        raise ValueError("it keeps weights in files of their own")
    if any(each.version < _LEAST_OPSET for each in model.opset_import if not each.domain):
        raise ValueError(f"it is of an opset below {_LEAST_OPSET}")
    _modernise(model)
    (given,) = [each for each in graph.input if each.name == name]
    kind = given.type.tensor_type.elem_type
    readers = [node for node in graph.node if name in node.input]
    mean = 255 / dnn.input.range * np.array(dnn.input.mean)
    scale = dnn.input.range / (255 * np.array(dnn.input.deviation))
    for node in readers:
        node.input[:] = [_NORMAL if each == name else each for each in node.input]
    kernel = _kernel(graph, readers) if dnn.input.layout == "NCHW" else None
    steps = [helper.make_node("Cast", [name], ["visiontax.levels"], to=TensorProto.FLOAT)]
    if kernel is not None:
        _replace(graph, readers[0], 1, kernel * scale.reshape(1, -1, 1, 1))
        if not _pads(readers[0]) and _has_known_bias(graph, readers[0]):
            _add_to_bias(graph, readers[0], kernel, -mean * scale)
            mean = np.zeros_like(mean)
        scale = np.ones_like(scale)
    shape = (-1, 1, 1) if dnn.input.layout == "NCHW" else (-1,)
    for operator, values, neutral in (("Sub", mean, 0.0), ("Mul", scale, 1.0)):
        if (values != neutral).any():
            constant = f"visiontax.{operator.lower()}"
            array = values.astype(np.float32).reshape(shape)
            graph.initializer.append(numpy_helper.from_array(array, constant))
            last, made = steps[-1].output[0], f"{constant}.made"
            steps.append(helper.make_node(operator, [last, constant], [made]))
    if kind != TensorProto.FLOAT:
        last = steps[-1].output[0]
        steps.append(helper.make_node("Cast", [last], [_NORMAL], to=kind))
    steps[-1].output[0] = _NORMAL
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *rest])
    given.type.tensor_type.elem_type = TensorProto.UINT8
    onnx.checker.check_model(model)
    made_of: bytes = model.SerializeToString(deterministic=True)
    return made_of


def _kernel(graph: Any, readers: list[Any]) -> Floats | None:
    """Return the weights of the convolution that alone reads the input; None where none does."""
    if len(readers) != 1 or readers[0].op_type != "Conv":
        return None
    (first,) = readers
    if first.input[0] != _NORMAL or _attribute(first, "group", 1) != 1:
        return None
    stored = _stored(graph, first.input[1])
    return stored if stored is not None and stored.dtype == np.float32 else None


def _stored(graph: Any, name: str) -> npt.NDArray[Any] | None:
    """Return a constant of the graph, None of what is none."""
    for each in graph.initializer:
        if each.name == name:
            return np.asarray(numpy_helper.to_array(each))
    for node in graph.node:
        if name in node.output and node.op_type == "Constant":
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
    return None


def _modernise(model: Any) -> None:
    """Have constants that are inputs too be no inputs: from _LEAST_IR on a caller could replace
    them, which would keep onnxruntime from fusing them with what follows.
    """
    if model.ir_version < _LEAST_IR:
        constants = {each.name for each in model.graph.initializer}
        inputs = [each for each in model.graph.input if each.name not in constants]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = _LEAST_IR


def _replace(graph: Any, node: Any, at: int, value: Floats) -> None:
    """Give the node a constant of its own, and drop its old one unless others may read that."""
    name = f"visiontax.convolution.{at}"
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    while len(node.input) <= at:
        node.input.append("")
    old, node.input[at] = node.input[at], name
    inner = any(each.type == AttributeProto.GRAPH for one in graph.node for each in one.attribute)
    if not inner and not any(old in each.input for each in graph.node):
        kept = [each for each in graph.initializer if each.name != old]
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _add_to_bias(graph: Any, node: Any, kernel: Floats, level: Floats) -> None:
    """Add what the convolution makes of an image that is `level` of each channel everywhere."""
    bias = (kernel * level.reshape(1, -1, 1, 1)).sum((1, 2, 3))
    old = _stored(graph, node.input[2]) if len(node.input) > 2 else None
    _replace(graph, node, 2, bias if old is None else bias + old)


def _has_known_bias(graph: Any, node: Any) -> bool:
    return len(node.input) < 3 or _stored(graph, node.input[2]) is not None


def _pads(node: Any) -> bool:
    return _attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or any(
        _attribute(node, "pads", [0])
    )


def _attribute(node: Any, name: str, default: Any) -> Any:
    for each in node.attribute:
        if each.name == name:
            return helper.get_attribute_value(each)
    return default
