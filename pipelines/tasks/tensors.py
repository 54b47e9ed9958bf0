"""What a DNN gives, tensors by name, and what it wants of an image: how large, which part, and
normalised by what.

Every DNN here takes RGB. A part of the image smaller than the input lies at its top left, and the
rest of the tensor is 0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], RGB."""

Tensor = npt.NDArray[np.float32]
"""[3, height, width], RGB, normalised."""

Tensors = dict[str, npt.NDArray[Any]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

Fit = Literal["centre", "stretch", "letterbox"]


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
    """The input of a DNN; `mean` and `deviation` are of RGB in 0..1.

    `fit` says what happens to an image of another shape:
    "centre": the central part of 7/8 of the short side is scaled to the input, which is square.
    "stretch": the whole image is scaled to the whole input.
    "letterbox": the whole image is scaled, keeping its shape, to fit into the input.
    """

    height: int
    width: int
    fit: Fit
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

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
    def _scale(self) -> Tensor:
        return np.array([1 / (255 * s) for s in self.deviation], np.float32).reshape(3, 1, 1)

    @cached_property
    def _offset(self) -> Tensor:
        pairs = zip(self.mean, self.deviation, strict=True)
        return np.array([m / s for m, s in pairs], np.float32).reshape(3, 1, 1)

    def normalize(self, pixels: Pixels) -> Tensor:
        """Return the tensor of pixels that are as large as the input, or smaller."""
        height, width = pixels.shape[:2]
        if (height, width) == (self.height, self.width):
            tensor = np.empty((3, height, width), np.float32)
        else:
            tensor = np.zeros((3, self.height, self.width), np.float32)
        part: Any = tensor[:, :height, :width]
        np.multiply(pixels.transpose(2, 0, 1), self._scale, out=part, dtype=np.float32)
        part -= self._offset
        return tensor
