"""MobileNetV2 as an ONNX graph, from torchvision's weights, batch normalisation folded in.

The network of Sandler et al. 2018, table 2; weights are named as in torchvision's state dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Weights = dict[str, npt.NDArray[Any]]

# Expansion, output channels, blocks, and the first block's stride: the rows of the paper's table.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_BATCH_NORM_EPSILON = 1e-5
_OPSET = 17
# Older servers refuse a newer one.
_IR_VERSION = 8


def build_onnx(weights: Weights) -> bytes:
    """Return the ONNX model, serialized and checked.

    It maps `input`, FP32 [N,3,224,224] (RGB, normalised by ImageNet's mean and deviation), to
    `logits`, FP32 [N,1000]. Raises KeyError when a weight is missing.
    """
    model = helper.make_model(
        _Graph(weights).build(),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="visiontax",
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def fold_batch_norm(convolution: Floats, norm: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Return kernel and bias of one convolution that does what convolution and norm did in turn.

    The kernel is [out,in,h,w]; `norm` has weight, bias, running_mean and running_var, each [out].
    """
    deviation = np.sqrt(norm["running_var"].astype(np.float64) + _BATCH_NORM_EPSILON)
    scale = norm["weight"] / deviation
    kernel = convolution * scale[:, None, None, None]
    bias = norm["bias"] - norm["running_mean"] * scale
    return kernel.astype(np.float32), bias.astype(np.float32)


class _Graph:
    """Grows the graph layer by layer; each method takes and returns the name of a tensor."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> Any:
        """Return the whole network as a GraphProto."""
        floor = self._constant("zero", np.float32(0))
        self._relu6_range = (floor, self._constant("six", np.float32(6)))
        x = self._convolution("input", "features.0.0", "features.0.1", stride=2)
        x = self._relu6(x)
        channels, index = 32, 1
        for expansion, out_channels, blocks, first_stride in _STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                y = self._bottleneck(x, index, hidden=channels * expansion, stride=stride)
                if stride == 1 and channels == out_channels:
                    y = self._node("Add", [x, y], f"features.{index}.sum")
                x, channels, index = y, out_channels, index + 1
        x = self._relu6(self._convolution(x, f"features.{index}.0", f"features.{index}.1"))
        x = self._node("GlobalAveragePool", [x], "pool")
        x = self._node("Flatten", [x], "features", axis=1)
        self._node("Gemm", [x, *self._dense("classifier.1")], "logits", transB=1)
        return helper.make_graph(
            self._nodes,
            "mobilenet_v2",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
            self._constants,
        )

    def _bottleneck(self, x: str, index: int, *, hidden: int, stride: int) -> str:
        """Expand 1x1 (but in the first block), filter each channel 3x3, project 1x1."""
        prefix, step = f"features.{index}.conv", 0
        if f"{prefix}.3.weight" in self._weights:
            x = self._relu6(self._convolution(x, f"{prefix}.0.0", f"{prefix}.0.1"))
            step = 1
        depthwise = (f"{prefix}.{step}.0", f"{prefix}.{step}.1")
        x = self._relu6(self._convolution(x, *depthwise, stride=stride, groups=hidden))
        return self._convolution(x, f"{prefix}.{step + 1}", f"{prefix}.{step + 2}")

    def _convolution(
        self, x: str, name: str, norm: str, *, stride: int = 1, groups: int = 1
    ) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        kernel, bias = fold_batch_norm(
            self._weights[f"{name}.weight"],
            {part: self._weights[f"{norm}.{part}"] for part in parts},
        )
        side = kernel.shape[-1]
        inputs = [x, self._constant(f"{name}.kernel", kernel), self._constant(f"{name}.bias", bias)]
        return self._node(
            "Conv",
            inputs,
            name,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
            group=groups,
        )

    def _relu6(self, x: str) -> str:
        return self._node("Clip", [x, *self._relu6_range], f"{x}.relu6")

    def _dense(self, name: str) -> tuple[str, str]:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._constant(f"{name}.weight", weight), self._constant(f"{name}.bias", bias)

    def _constant(self, name: str, value: npt.NDArray[Any] | np.float32) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
