"""A depth network for timing: MobileNetV2's trained encoder below a decoder of random weights.

The decoder is in the manner of FastDepth (Wofk et al. 2019): on each level a depthwise separable
convolution, upsampling by two, and the encoder's tensor of that size added.
"""

import numpy as np
import onnxruntime

from bench.prepare.dnns.mobilenetv2 import Encoder, Floats
from bench.prepare.dnns.onnx_graph import INPUT, Graph
from bench.prepare.dnns.torch_weights import read_state_dict
from pipelines.errors import VisiontaxError
from pipelines.tasks import Dnn

_SEED = 2024
# The row of the encoder's table that is added on each level, and its channels.
_LEVELS = ((4, 96), (2, 32), (1, 24), (0, 16))
_ENCODED = 320
_SIDE = 5


def build(data: bytes, dnn: Dnn) -> bytes:
    """Return the ONNX network; `data` is torchvision's .pth file of MobileNetV2.

    Raises SourceError when `data` is not such a file, VisiontaxError when the decoder would make
    outputs by which nothing can be timed.
    """
    graph = Graph()
    encoded = Encoder(read_state_dict(data), graph).stages(INPUT)
    decoder = _Decoder(graph)
    x, channels = encoded[-1], _ENCODED
    for row, to in _LEVELS:
        x = decoder.relu(decoder.separable(x, channels=channels, to=to))
        x = decoder.doubled(x, f"decoder.{to}.doubled")
        x, channels = graph.node("Add", [x, encoded[row]], f"decoder.{to}.sum"), to
    decoder.doubled(decoder.separable(x, channels=channels, to=1), dnn.outputs[0].name)
    model = graph.seal(dnn)
    _check(model, dnn)
    return model


class _Decoder:
    """Adds layers; weights after He et al. 2015, so that no layer's outputs fade or explode.

    Left to a framework's defaults they may become denormal numbers, which a CPU is slow at.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._random = graph, np.random.default_rng(_SEED)
        self._scales = graph.constant("decoder.scales", np.array([1, 1, 2, 2], np.float32))

    def separable(self, x: str, *, channels: int, to: int) -> str:
        """Filter each channel, then mix them into `to` channels."""
        depthwise = (channels, 1, _SIDE, _SIDE)
        x = self._convolution(x, f"decoder.{to}.depthwise", shape=depthwise, groups=channels)
        return self._convolution(
            self.relu(x), f"decoder.{to}.pointwise", shape=(to, channels, 1, 1)
        )

    def relu(self, x: str) -> str:
        return self._graph.node("Relu", [x], f"{x}.relu")

    def doubled(self, x: str, name: str) -> str:
        """Double height and width."""
        return self._graph.resize(x, name, scales=self._scales)

    def _convolution(
        self, x: str, name: str, *, shape: tuple[int, int, int, int], groups: int = 1
    ) -> str:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        kernel: Floats = (self._random.standard_normal(shape) * deviation).astype(np.float32)
        bias = np.zeros(shape[0], np.float32)
        return self._graph.convolution(x, name, kernel=kernel, bias=bias, groups=groups)


def _check(model: bytes, dnn: Dnn) -> None:
    """Run the network once, on noise."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    size = (1, 3, dnn.input.height, dnn.input.width)
    noise = np.random.default_rng(_SEED).standard_normal(size).astype(np.float32)
    (depth,) = session.run(None, {INPUT: noise})
    if not (np.isfinite(depth).all() and 0.01 < np.abs(depth).mean() < 100 and depth.std() > 0.01):
        raise VisiontaxError(
            f"{dnn.model} answers with {depth.mean():.3g} ± {depth.std():.3g} everywhere",
            hint="choose another _SEED in bench/prepare/dnns/depth.py",
        )
