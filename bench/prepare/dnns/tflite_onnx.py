"""Turns a TensorFlow Lite network into an ONNX one, as far as the networks of ours need it.

TensorFlow Lite keeps the channels of an image last, ONNX keeps them first: tensors of rank 4 are
turned, constants with them. The batch size, fixed in the file, becomes free.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from bench.prepare.dnns.onnx_graph import INPUT, Graph
from pipelines.errors import SourceError
from pipelines.tasks import Dnn

Array = npt.NDArray[Any]

_DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
_OPTIONS = {number: name for name, number in vars(tflite.BuiltinOptions).items()}
_ELEMENTWISE = {
    "ABS": "Abs",
    "ADD": "Add",
    "HARD_SWISH": "HardSwish",
    "LOGISTIC": "Sigmoid",
    "MUL": "Mul",
    "RELU": "Relu",
    "SUB": "Sub",
}


def build(data: bytes, dnn: Dnn) -> bytes:
    """Return the ONNX model of a .tflite file with one input and one output.

    Raises SourceError when `data` is no such file, or holds what cannot be turned here.
    """
    if not tflite.Model.ModelBufferHasIdentifier(data, 0):
        raise SourceError(
            "cannot read the network: it is no TensorFlow Lite file",
            hint="correct its pin in bench/prepare/pins.toml",
        )
    return _Network(tflite.Model.GetRootAs(data, 0)).build(dnn)


class _Operation:
    """One operation of the file: what it is, what it reads and makes, and how."""

    def __init__(self, operator: Any, code: Any) -> None:
        self.kind = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        if self.kind == "CUSTOM":
            self.kind = code.CustomCode().decode()
        self.inputs: list[int] = operator.InputsAsNumpy().tolist()
        (self.output,) = operator.OutputsAsNumpy().tolist()
        self.options: Any = None
        if table := operator.BuiltinOptions():
            self.options = getattr(tflite, _OPTIONS[operator.BuiltinOptionsType()])()
            self.options.Init(table.Bytes, table.Pos)
        fused = getattr(self.options, "FusedActivationFunction", lambda: 0)()
        self.need(fused == tflite.ActivationFunctionType.NONE, "only without a fused activation")

    def need(self, condition: object, known: str) -> None:
        """Raise SourceError saying what is known, when this is not it."""
        if not condition:
            raise SourceError(
                f"cannot turn {self.kind} into ONNX: known is {known}",
                hint="pin another network in bench/prepare/pins.toml, or extend this module",
            )


class _Network:
    """A file's tensors by their index in it, and the graph made of its operations."""

    def __init__(self, file: Any) -> None:
        self._file, self._network = file, file.Subgraphs(0)
        self._graph = Graph()
        self._names: dict[int, str] = {}
        self._widened: dict[int, Array] = {}

    def build(self, dnn: Dnn) -> bytes:
        """Turn every operation, in the file's order, which is that of execution."""
        (image,), (answer,) = self._network.InputsAsNumpy(), self._network.OutputsAsNumpy()
        self._names = {image: INPUT}
        for index in range(self._network.OperatorsLength()):
            operator = self._network.Operators(index)
            self._turn(_Operation(operator, self._file.OperatorCodes(operator.OpcodeIndex())))
        self._graph.node("Identity", [self._names[answer]], dnn.outputs[0].name)
        return self._graph.seal(dnn)

    def _turn(self, operation: _Operation) -> None:
        turns: dict[str, Callable[[_Operation, str], str]] = {
            "AVERAGE_POOL_2D": self._average,
            "CONV_2D": self._convolution,
            "Convolution2DTransposeBias": self._transposed_convolution,
            "DEPTHWISE_CONV_2D": self._convolution,
            "RESHAPE": self._flatten,
            "RESIZE_BILINEAR": self._resize,
            **dict.fromkeys(_ELEMENTWISE, self._elementwise),
        }
        made = operation.output
        if operation.kind == "DEQUANTIZE":
            self._widened[made] = self._constant(operation.inputs[0]).astype(np.float32)
            return
        operation.need(operation.kind in turns, f"no more than {', '.join(turns)}")
        self._names[made] = turns[operation.kind](operation, f"tensor{made}")

    def _elementwise(self, operation: _Operation, name: str) -> str:
        for index in operation.inputs:
            if index not in self._names:
                value = self._constant(index)
                operation.need(value.ndim == 1, "only with constants for each channel")
                self._names[index] = self._graph.constant(f"tensor{index}", value.reshape(-1, 1, 1))
        inputs = [self._names[index] for index in operation.inputs]
        return self._graph.node(_ELEMENTWISE[operation.kind], inputs, name)

    def _convolution(self, operation: _Operation, name: str) -> str:
        (x, weights, biases), options = operation.inputs, operation.options
        stride = options.StrideH()
        undilated = options.DilationHFactor() == options.DilationWFactor() == 1
        operation.need(undilated and stride == options.StrideW(), "only undilated, with one stride")
        depthwise = operation.kind == "DEPTHWISE_CONV_2D"
        # From [out,h,w,in], or [1,h,w,out].
        kernel = self._constant(weights).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        pads = [0, 0, 0, 0]
        if options.Padding() == tflite.Padding.SAME:
            pads = _same_pads(self._sides(x), kernel.shape[2:], stride=stride)
        return self._graph.convolution(
            self._names[x],
            name,
            kernel=kernel,
            bias=self._constant(biases),
            stride=stride,
            groups=self._shape(x)[3] if depthwise else 1,
            pads=pads,
        )

    def _transposed_convolution(self, operation: _Operation, name: str) -> str:
        x, weights, biases = operation.inputs
        kernel = self._constant(weights).transpose(3, 0, 1, 2)  # from [out,h,w,in]
        sides = list(kernel.shape[2:])
        grown = [side * factor for side, factor in zip(self._sides(x), sides, strict=True)]
        operation.need(
            self._sides(operation.output) == grown, "only with a stride of its kernel's size"
        )
        inputs = [
            self._names[x],
            self._graph.constant(f"{name}.kernel", kernel),
            self._graph.constant(f"{name}.bias", self._constant(biases)),
        ]
        return self._graph.node("ConvTranspose", inputs, name, kernel_shape=sides, strides=sides)

    def _average(self, operation: _Operation, name: str) -> str:
        (x,), options = operation.inputs, operation.options
        window = [options.FilterHeight(), options.FilterWidth()]
        operation.need(window == self._sides(x), "only of the whole image")
        return self._graph.node("GlobalAveragePool", [self._names[x]], name)

    def _resize(self, operation: _Operation, name: str) -> str:
        x, options = operation.inputs[0], operation.options
        centred = options.HalfPixelCenters() and not options.AlignCorners()
        operation.need(centred, "only with half-pixel centres")
        sides = zip(self._sides(x), self._sides(operation.output), strict=True)
        scales = np.array([1, 1, *(after / before for before, after in sides)], np.float32)
        constant = self._graph.constant(f"{name}.scales", scales)
        return self._graph.resize(self._names[x], name, scales=constant)

    def _flatten(self, operation: _Operation, name: str) -> str:
        x = operation.inputs[0]
        flattens = self._sides(x) == [1, 1] and len(self._shape(operation.output)) == 2
        operation.need(flattens, "only from a single pixel to its channels")
        return self._graph.node("Flatten", [self._names[x]], name, axis=1)

    def _shape(self, index: int) -> list[int]:
        shape: list[int] = self._network.Tensors(index).ShapeAsNumpy().tolist()
        return shape

    def _sides(self, index: int) -> list[int]:
        """Height and width of a tensor of rank 4."""
        return self._shape(index)[1:3]

    def _constant(self, index: int) -> Array:
        if index in self._widened:
            return self._widened[index]
        tensor = self._network.Tensors(index)
        data = self._file.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        return np.frombuffer(data, _DTYPES[tensor.Type()]).reshape(self._shape(index))


def _same_pads(sides: Sequence[int], kernel: Sequence[int], *, stride: int) -> list[int]:
    """Return top, left, bottom and right of TensorFlow's SAME padding; an odd one goes last."""
    needed = [
        max((math.ceil(side / stride) - 1) * stride + size - side, 0)
        for side, size in zip(sides, kernel, strict=True)
    ]
    return [pad // 2 for pad in needed] + [pad - pad // 2 for pad in needed]
