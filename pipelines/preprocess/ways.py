"""An encoded image to a DNN's input tensor, in one of several ways that agree on what they compute.

Every way decodes to RGB (EXIF rotation applied), scales the part of the image that the ModelInput
asks for with an antialiasing bilinear filter, and normalises. For the central square that is the
usual "resize the short side to 256, crop 224" without computing pixels that are then thrown away.
Those whose library can, decode a JPEG at 1/2, 1/4 or 1/8 of its size where that is asked for.
"""

import functools
import pkgutil
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import features

from pipelines.preprocess import formats
from pipelines.preprocess.choose import DECODES, FULL, WAYS, check_decode
from pipelines.preprocess.formats import Picture
from pipelines.spans import Span
from pipelines.tasks.tensors import ModelInput, Pixels, Placement, Tensor

cv2.setNumThreads(1)  # of the whole process: instances, not threads, fill the cores


@dataclass(frozen=True)
class Preprocessed:
    """A DNN's input and what it was made of.

    `size` is the width and height of the upright image; `pixels`, [height, width, 3] RGB, are None
    unless the preprocessor was made to keep them.
    """

    tensor: Tensor
    size: tuple[int, int]
    pixels: Pixels | None
    spans: list[Span]


class Preprocessor(Protocol):
    """One way to preprocess for one DNN."""

    def __call__(self, data: bytes) -> Preprocessed:
        """Return what an encoded image becomes, and the spans spent on it.

        Raises ImageError when the data is not an image that can be preprocessed.
        """

    def decoded(self, data: bytes) -> Pixels:
        """Return the upright pixels of an encoded image. Raises ImageError like a call."""


class Stepwise(Preprocessor):
    """A way whose decode, resize and normalize can be timed one by one.

    Pixels that are kept are all of the image's, so such a one never decodes fewer.
    """

    name = ""

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool, decode: str = FULL) -> None:
        self._input = model_input
        self._keep_pixels = keep_pixels
        self._shrinks = DECODES[FULL if keep_pixels else decode]

    def decode(self, picture: Picture, *, by: int) -> Any:
        """Return the upright image in the library's own type; of a JPEG, width and height divided
        `by` 1, 2, 4 or 8 and rounded up. It is 1 for other formats, and where it is never asked.
        """
        raise NotImplementedError

    def size(self, image: Any) -> tuple[int, int]:
        """Return the width and height of the decoded image; here, of an array."""
        return image.shape[1], image.shape[0]

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Return the RGB pixels of the box, scaled."""
        raise NotImplementedError

    def decoded(self, data: bytes) -> Pixels:
        return np.asarray(self.decode(formats.admitted(data), by=1))

    def _divisor(self, picture: Picture) -> int:
        if picture.format != formats.JPEG or self._shrinks == DECODES[FULL]:
            return 1
        return divisor(self._input.place(*picture.upright), shrinks=self._shrinks)

    def __call__(self, data: bytes) -> Preprocessed:
        start = time.monotonic_ns()
        picture = formats.admitted(data)
        by = self._divisor(picture)
        image = self.decode(picture, by=by)
        kept = np.asarray(image) if self._keep_pixels else None
        decoded = time.monotonic_ns()
        size = self.size(image) if by == 1 else picture.upright
        scaled = self.resize(image, divided(self._input.place(*size), by))
        resized = time.monotonic_ns()
        tensor = self._input.normalize(scaled)
        end = time.monotonic_ns()
        spans = [
            Span("decode", start, decoded, self.name),
            Span("resize", decoded, resized, self.name),
            Span("normalize", resized, end, self.name),
        ]
        return Preprocessed(tensor, size, kept, spans)


def divided(where: Placement, by: int) -> Placement:
    """Return where the same part lies in an image that is so many times smaller."""
    if by == 1:
        return where
    left, right = round(where.left / by), round((where.left + where.width) / by)
    top, bottom = round(where.top / by), round((where.top + where.height) / by)
    return replace(where, left=left, top=top, width=right - left, height=bottom - top)


def divisor(where: Placement, *, shrinks: float) -> int:
    """Return the largest of 8, 4, 2 and 1 by which an image can be divided such that its part is
    still more than so many times as large as what it is scaled to, in both directions.
    """
    for by in (8, 4, 2):
        part = divided(where, by)
        if min(part.width / part.to_width, part.height / part.to_height) > shrinks:
            return by
    return 1


def lacks(preprocess: str) -> tuple[str, ...]:
    """Return the formats that this way cannot read as it is installed here."""
    if preprocess != "pillow":
        return ()
    parts = {"WebP": "webp", formats.COMPRESSED_TIFF: "libtiff"}
    return tuple(name for name, part in parts.items() if not features.check(part))


def preprocessor(
    preprocess: str, model_input: ModelInput, *, keep_pixels: bool = False, decode: str = FULL
) -> Preprocessor:
    """Return a new preprocessor for a DNN, by one of the WAYS, which decodes as much of an image as
    one of the DECODES says. Raises VisiontaxError where that way cannot.
    """
    check_decode(preprocess, decode)
    how = {} if decode == FULL else {"decode": decode}
    way = pkgutil.resolve_name(WAYS[preprocess])
    made: Preprocessor = way(model_input, keep_pixels=keep_pixels, **how)
    return made


class _Thread(threading.local):
    def __init__(self) -> None:
        self.preprocessor = functools.cache(preprocessor)


_thread = _Thread()


def own(
    preprocess: str, model_input: ModelInput, *, keep_pixels: bool = False, decode: str = FULL
) -> Preprocessor:
    """Return the calling thread's own `preprocessor`, made on first use."""
    return _thread.preprocessor(preprocess, model_input, keep_pixels=keep_pixels, decode=decode)
