"""MobileNetV2 as an ONNX graph, from torchvision's weights, batch normalisation folded in.

The network of Sandler et al. 2018, table 2; weights are named as in torchvision's state dict.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.prepare.dnns.onnx_graph import INPUT, Graph
from bench.prepare.dnns.torch_weights import read_state_dict
from pipelines.tasks import Dnn

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


def build(data: bytes, dnn: Dnn) -> bytes:
    """Return the ONNX classifier of `data`, the bytes of torchvision's .pth file.

    Raises SourceError when `data` is not such a file, KeyError when a weight is missing.
    """
    weights, graph = read_state_dict(data), Graph()
    encoder = Encoder(weights, graph)
    x = encoder.stages(INPUT)[-1]
    x = encoder.relu6(encoder.convolution(x, "features.18.0"))
    x = graph.node("GlobalAveragePool", [x], "pool")
    x = graph.node("Flatten", [x], "features", axis=1)
    dense = [
        graph.constant(f"classifier.{part}", weights[f"classifier.1.{part}"])
        for part in ("weight", "bias")
    ]
    graph.node("Gemm", [x, *dense], "logits", transB=1)
    return graph.seal(dnn)


def fold_batch_norm(convolution: Floats, norm: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Return kernel and bias of one convolution that does what convolution and norm did in turn.

    The kernel is [out,in,h,w]; `norm` has weight, bias, running_mean and running_var, each [out].
    """
    deviation = np.sqrt(norm["running_var"].astype(np.float64) + _BATCH_NORM_EPSILON)
    scale = norm["weight"] / deviation
    kernel = convolution * scale[:, None, None, None]
    bias = norm["bias"] - norm["running_mean"] * scale
    return kernel.astype(np.float32), bias.astype(np.float32)


class Encoder:
    """Adds the network's layers to a graph; each method takes and returns the name of a tensor."""

    def __init__(self, weights: Weights, graph: Graph) -> None:
        self._weights, self._graph = weights, graph
        floor = graph.constant("zero", np.float32(0))
        self._relu6_range = (floor, graph.constant("six", np.float32(6)))

    def stages(self, x: str) -> list[str]:
        """Add all that lies between the input and the last 1x1 convolution.

        Returns what each row of the paper's table makes: 16, 24, 32, 64, 96, 160 and 320 channels,
        at a 2nd, 4th, 8th, 16th, 16th, 32nd and 32nd of the input's side.
        """
        x = self.relu6(self.convolution(x, "features.0.0", stride=2))
        made, channels, index = [], 32, 1
        for expansion, out_channels, blocks, first_stride in _STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                y = self._bottleneck(x, index, hidden=channels * expansion, stride=stride)
                if stride == 1 and channels == out_channels:
                    y = self._graph.node("Add", [x, y], f"features.{index}.sum")
                x, channels, index = y, out_channels, index + 1
            made.append(x)
        return made

    def convolution(self, x: str, name: str, *, stride: int = 1, groups: int = 1) -> str:
        """Add a convolution, of that stride and groups, with the norm that follows it folded in."""
        block, _, index = name.rpartition(".")
        parts = ("weight", "bias", "running_mean", "running_var")
        norm = {part: self._weights[f"{block}.{int(index) + 1}.{part}"] for part in parts}
        kernel, bias = fold_batch_norm(self._weights[f"{name}.weight"], norm)
        return self._graph.convolution(
            x, name, kernel=kernel, bias=bias, stride=stride, groups=groups
        )

    def relu6(self, x: str) -> str:
        """Add the activation."""
        return self._graph.node("Clip", [x, *self._relu6_range], f"{x}.relu6")

    def _bottleneck(self, x: str, index: int, *, hidden: int, stride: int) -> str:
        """Expand 1x1 (but in the first block), filter each channel 3x3, project 1x1."""
        prefix, step = f"features.{index}.conv", 0
        if f"{prefix}.3.weight" in self._weights:
            x, step = self.relu6(self.convolution(x, f"{prefix}.0.0")), 1
        x = self.relu6(self.convolution(x, f"{prefix}.{step}.0", stride=stride, groups=hidden))
        return self.convolution(x, f"{prefix}.{step + 1}")
