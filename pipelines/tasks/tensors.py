"""What a DNN gives, tensors by name, and what it wants of an image: how large, which part, in which
order of colours, as which numbers.

A part of the image smaller than the input lies at its top left, and the rest of the tensor is 0, or
`fill`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], RGB."""

Tensor = npt.NDArray[Any]
"""The input of a DNN for one image, `ModelInput.shape`."""

Tensors = dict[str, npt.NDArray[Any]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

Fit = Literal["centre", "stretch", "letterbox"]
Layout = Literal["NCHW", "NHWC"]
Colour = Literal["RGB", "BGR", "GRAY"]

TYPES: dict[str, type[Any]] = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
    "bytes": np.object_,
}
"""The types of tensors, by their names in descriptions."""

FED = ("fp32", "fp16", "uint8")
"""The types that an input made of an image may have."""

ENCODED = ("bytes", "encoded")
"""What an input is called that takes the image's file: as one element of bytes, or as UINT8."""

NORMALIZES = ("preprocess", "dnn")
"""Who makes numbers about 0 of pixels: what preprocesses, or the first nodes of the DNN's graph, to
which the tensor then goes as uint8.
"""

OF_PIXELS = "_uint8"
"""What names of models end in that have to do with DNNs which normalize pixels themselves."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as every library here makes gray of RGB


@dataclass(frozen=True)
class TensorSpec:
    """A tensor an engine must return: its name, NumPy type and largest shape.

    To an engine the batch dimension is part of the shape; a DNN's own outputs are stated without.
    """

    name: str
    dtype: type[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """The box of the image, in pixels, that is scaled to `to_width` x `to_height` of the input."""

    left: int
    top: int
    width: int
    height: int
    to_width: int
    to_height: int


@dataclass(frozen=True)
class ModelInput:
    """The input of a DNN that an image is made into.

    `fit` says what happens to an image of another shape:
    "centre": the central part of 7/8 of the short side is scaled to the input, which is square.
    "stretch": the whole image is scaled to the whole input.
    "letterbox": the whole image is scaled, keeping its shape, to fit into the input.

    White is `range`; `mean` is subtracted from that and the rest divided by `deviation`, a number a
    channel in the order of `colour`. An input of type "uint8" takes 0..255 as they are, one of the
    types ENCODED the image's file as it is: then none of the rest matters. `fill` is what the
    tensor has where there is no image, a number a channel; empty for 0.
    """

    height: int
    width: int
    fit: Fit
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    range: float = 1.0
    colour: Colour = "RGB"
    layout: Layout = "NCHW"
    type: str = "fp32"
    name: str = "input"
    fill: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """How many numbers a pixel is."""
        return 1 if self.colour == "GRAY" else 3

    @property
    def encoded(self) -> bool:
        """Whether it takes the image's file."""
        return self.type in ENCODED

    @property
    def normalized(self) -> bool:
        """Whether it takes numbers that mean and deviation were applied to."""
        return self.type in ("fp32", "fp16")

    def of_pixels(self) -> "ModelInput":
        """Return the same input for a DNN that applies mean and deviation itself.

        What is filled up has the level that becomes 0, to the nearest whole number.
        """
        levels = (round(255 / self.range * mean) for mean in self.mean)
        return replace(self, type="uint8", fill=tuple(min(255, max(0, one)) for one in levels))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor of one image, without a batch; -1 is a size that varies."""
        if self.encoded:
            return (1,) if self.type == "bytes" else (-1,)
        if self.layout == "NCHW":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)

    def place(self, width: int, height: int) -> Placement:
        """Return what part of an image of `width` x `height` goes where."""
        if self.fit == "centre":
            side = max(1, min(width, height) * 7 // 8)
            left, top = (width - side) // 2, (height - side) // 2
            return Placement(left, top, side, side, self.width, self.height)
        if self.fit == "stretch":
            return Placement(0, 0, width, height, self.width, self.height)
        # In whole numbers, so that DALI's graph arrives at the same ones; rounds half up.
        to_width = (2 * width * self.height + height) // (2 * height)
        to_height = (2 * height * self.width + width) // (2 * width)
        to_width, to_height = min(self.width, max(1, to_width)), min(self.height, max(1, to_height))
        return Placement(0, 0, width, height, to_width, to_height)

    @cached_property
    def _scale(self) -> npt.NDArray[np.float32]:
        return self._each([self.range / (255 * s) for s in self.deviation])

    @cached_property
    def _offset(self) -> npt.NDArray[np.float32]:
        pairs = zip(self.mean, self.deviation, strict=True)
        return self._each([m / s for m, s in pairs])

    def _each(self, values: Sequence[float]) -> npt.NDArray[np.float32]:
        """A number a channel, so that NumPy applies it to each pixel."""
        return np.array(values, np.float32).reshape((-1, 1, 1) if self.layout == "NCHW" else (-1,))

    def file(self, image: bytes) -> Tensor:
        """Return the tensor of an image's file, where the input is `encoded`."""
        if self.type == "bytes":
            return np.array([image], np.object_)
        return np.frombuffer(image, np.uint8)

    def normalize(self, pixels: Pixels) -> Tensor:
        """Return the tensor of RGB pixels that are as large as the input, or smaller."""
        height, width = pixels.shape[:2]
        seen = self._coloured(pixels)
        whole = (height, width) == (self.height, self.width)
        tensor: Tensor = (np.empty if whole else np.zeros)(self.shape, TYPES[self.type])
        if self.fill and not whole:
            tensor[:] = self._each(self.fill)
        if self.layout == "NCHW":
            seen, part = seen.transpose(2, 0, 1), tensor[:, :height, :width]
        else:
            part = tensor[:height, :width]
        if self.type == "fp32":
            np.multiply(seen, self._scale, out=part, dtype=np.float32)
            part -= self._offset
        else:
            part[:] = seen if self.type == "uint8" else seen * self._scale - self._offset
        return tensor

    def _coloured(self, pixels: Pixels) -> Pixels:
        """The pixels in the order of the input's colours, or gray."""
        if self.colour == "GRAY":
            gray = np.rint(pixels @ np.array(_LUMA, np.float32))
            return gray.astype(np.uint8)[..., None]
        return pixels[..., ::-1] if self.colour == "BGR" else pixels
