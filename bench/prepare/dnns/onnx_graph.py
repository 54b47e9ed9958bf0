"""Grows ONNX graphs node by node, and seals a finished one with the interface that the tasks state.

Tensors are known by their names: a method that adds something returns the name of what it makes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from pipelines.tasks import Dnn

INPUT = "input"
"""The name of every DNN's only input."""

OPSET = 17
# Older servers refuse a newer one.
_IR_VERSION = 8


class Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Add an array."""
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Add one operation of the standard's name `kind`."""
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolution(
        self,
        x: str,
        name: str,
        *,
        kernel: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        stride: int = 1,
        groups: int = 1,
        pads: Sequence[int] | None = None,
    ) -> str:
        """Add a convolution by a kernel [out,in,h,w]; `pads` is top, left, bottom, right.

        Without `pads` half the kernel is added on every side.
        """
        height, width = kernel.shape[2:]
        if pads is None:
            pads = [height // 2, width // 2] * 2
        weights = [self.constant(f"{name}.kernel", kernel), self.constant(f"{name}.bias", bias)]
        return self.node(
            "Conv",
            [x, *weights],
            name,
            kernel_shape=[height, width],
            strides=[stride, stride],
            pads=list(pads),
            group=groups,
        )

    def resize(self, x: str, name: str, *, scales: str) -> str:
        """Scale bilinearly, pixels being areas, by the constant `scales` of N, C, H and W."""
        kind = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", scales], name, **kind)

    def seal(self, dnn: Dnn) -> bytes:
        """Return the graph as the model of this DNN; see `seal`."""
        graph = helper.make_graph(self._nodes, dnn.model, [], [], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="visiontax"
        )
        return seal(model, dnn)


def load(data: bytes) -> Any:
    """Return the ModelProto in `data`, its first input called INPUT."""
    model = onnx.load_from_string(data)
    rename(model, {model.graph.input[0].name: INPUT})
    return model


def rename(model: Any, names: dict[str, str]) -> None:
    """Give tensors of the model other names."""
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def seal(model: Any, dnn: Dnn) -> bytes:
    """Return the model, serialized, with the DNN's input and outputs and a free batch size N.

    Constants that nothing reads are dropped. Raises onnx's ValidationError or InferenceError when
    the graph does not make outputs of these names, types and sizes.
    """
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in read]
    _replace(graph.initializer, constants)
    _replace(graph.input, [_tensor(INPUT, np.float32, dnn.input.shape)])
    _replace(graph.output, [_tensor(each.name, each.dtype, each.shape) for each in dnn.outputs])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)


def _tensor(name: str, dtype: type[Any], shape: tuple[int, ...]) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, ["N", *shape])
