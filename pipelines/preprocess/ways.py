"""JPEG bytes to a DNN's input tensor, in one of three ways that agree on what they compute.

Every way decodes to RGB (EXIF rotation applied), scales the part of the image that the ModelInput
asks for with an antialiasing bilinear filter, and normalises. For the central square that is the
usual "resize the short side to 256, crop 224" without computing pixels that are then thrown away.
"""

from __future__ import annotations

import importlib
import io
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from pipelines.errors import ImageError, VisiontaxError
from pipelines.preprocess import jpeg
from pipelines.preprocess.choose import WAYS
from pipelines.spans import Span
from pipelines.tasks.inputs import ModelInput, Pixels, Placement, Tensor


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
        """Return what a JPEG becomes, and the spans spent on it.

        Raises ImageError when the data is not an image that can be preprocessed.
        """

    def decoded(self, data: bytes) -> Pixels:
        """Return the upright pixels of a JPEG. Raises ImageError like a call."""


class Stepwise:
    """A way whose decode, resize and normalize can be timed one by one."""

    name = ""

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        self._input = model_input
        self._keep_pixels = keep_pixels

    def decode(self, data: bytes) -> Any:
        """Return the upright image in the library's own type."""
        raise NotImplementedError

    def size(self, image: Any) -> tuple[int, int]:
        """Return the width and height of the decoded image; here, of an array."""
        return image.shape[1], image.shape[0]

    def pixels(self, image: Any) -> Pixels:
        """Return the pixels of the decoded image; here, what is an array already."""
        return cast(Pixels, image)

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Return the RGB pixels of the box, scaled."""
        raise NotImplementedError

    def decoded(self, data: bytes) -> Pixels:
        """Check, decode and nothing else."""
        jpeg.check(data)
        return self.pixels(self.decode(data))

    def __call__(self, data: bytes) -> Preprocessed:
        start = time.monotonic_ns()
        jpeg.check(data)
        image = self.decode(data)
        kept = self.pixels(image) if self._keep_pixels else None
        decoded = time.monotonic_ns()
        size = self.size(image)
        scaled = self.resize(image, self._input.place(*size))
        resized = time.monotonic_ns()
        tensor = self._input.normalize(scaled)
        end = time.monotonic_ns()
        spans = [
            Span("decode", start, decoded, self.name),
            Span("resize", decoded, resized, self.name),
            Span("normalize", resized, end, self.name),
        ]
        return Preprocessed(tensor, size, kept, spans)


class OpenCV(Stepwise):
    """OpenCV, on one thread: instances, not threads, fill the cores."""

    name = "opencv"

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        super().__init__(model_input, keep_pixels=keep_pixels)
        import cv2

        cv2.setNumThreads(1)
        self._cv2 = cv2

    def decode(self, data: bytes) -> Any:
        """Return the [height, width, 3] RGB pixels."""
        try:
            image = self._cv2.imdecode(np.frombuffer(data, np.uint8), self._cv2.IMREAD_COLOR_RGB)
        except self._cv2.error as error:
            raise ImageError(f"OpenCV cannot decode the JPEG: {error.err}") from error
        if image is None:
            raise ImageError("OpenCV cannot decode the JPEG: it is corrupt or of an unknown kind")
        return image

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Average over areas when shrinking, interpolate linearly when growing."""
        to = (where.to_width, where.to_height)
        if where.width > where.to_width and where.height > where.to_height:
            box = image[where.top : where.top + where.height, where.left : where.left + where.width]
            return cast(Pixels, self._cv2.resize(box, to, interpolation=self._cv2.INTER_AREA))
        # Like the other ways, and unlike `resize` of a cut-out box, this interpolates at the box's
        # edge with the pixels beyond it.
        step = np.array([where.width, where.height]) / to
        first = np.array([where.left, where.top]) + (step - 1) / 2
        box = np.column_stack([np.diag(step), first])
        how = self._cv2.INTER_LINEAR | self._cv2.WARP_INVERSE_MAP
        edge = self._cv2.BORDER_REPLICATE
        pixels: Any = self._cv2.warpAffine(image, box, to, flags=how, borderMode=edge)
        return cast(Pixels, pixels)


class Pillow(Stepwise):
    """Pillow, or pillow-simd where it is installed."""

    name = "pillow"

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        super().__init__(model_input, keep_pixels=keep_pixels)
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # `jpeg` holds the limit, the same for every way
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged EXIF, on every image
        self._open, self._exif = Image.open, Image.Exif
        self._bilinear = Image.Resampling.BILINEAR
        turn = Image.Transpose
        self._turns = {
            2: turn.FLIP_LEFT_RIGHT,
            3: turn.ROTATE_180,
            4: turn.FLIP_TOP_BOTTOM,
            5: turn.TRANSPOSE,
            6: turn.ROTATE_270,
            7: turn.TRANSVERSE,
            8: turn.ROTATE_90,
        }

    def decode(self, data: bytes) -> Any:
        """Return a PIL image in mode RGB."""
        try:
            image = self._open(io.BytesIO(data), formats=("JPEG",))
            turn = self._turns.get(self._orientation(image))
            pixels = image.convert("RGB")
        except Exception as error:  # hostile headers make it raise nearly anything
            raise ImageError(f"Pillow cannot decode the JPEG: {_reason(error)}") from error
        return pixels if turn is None else pixels.transpose(turn)

    def _orientation(self, image: Any) -> Any:
        """The EXIF orientation, 1..8; None where there is none, or none that can be read.

        `ImageOps.exif_transpose` would also rewrite the EXIF, which fails for many a camera's, and
        believe XMP, which the other ways do not.
        """
        exif = self._exif()
        try:
            exif.load(image.info.get("exif", b""))
            return exif.get(0x0112)
        except Exception:  # damaged EXIF makes it raise nearly anything; the pixels are fine
            return None

    def size(self, image: Any) -> tuple[int, int]:
        """Ask the image."""
        return cast("tuple[int, int]", image.size)

    def pixels(self, image: Any) -> Pixels:
        """Copy the image into an array."""
        return np.asarray(image)

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Scale with Pillow's bilinear filter, which antialiases when shrinking."""
        box = (where.left, where.top, where.left + where.width, where.top + where.height)
        to = (where.to_width, where.to_height)
        return np.asarray(image.resize(to, self._bilinear, box=box))


def _reason(error: Exception) -> str:
    text = str(error)
    return "it is corrupt or of an unknown kind" if "cannot identify" in text else text


class Dali:
    """NVIDIA DALI on the CPU: one graph, timed as one box."""

    name = "dali"

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        from pipelines.preprocess import dali_graph

        self._dali, self._input = dali_graph, model_input
        self._graph = self._build(dali_graph.ALL if keep_pixels else dali_graph.SERVED)
        self._decoder: Any = None

    def _build(self, outputs: Sequence[str]) -> Any:
        return self._dali.build(self._input, outputs=outputs, batch_size=1, threads=1)

    def decoded(self, data: bytes) -> Pixels:
        """Run a graph that only decodes."""
        jpeg.check(data)
        self._decoder = self._decoder or self._build(("decode",))
        return cast(Pixels, self._dali.run(self._decoder, [data])[0][0])

    def __call__(self, data: bytes) -> Preprocessed:
        start = time.monotonic_ns()
        jpeg.check(data)
        tensor, size, *kept = self._dali.run(self._graph, [data])[0]
        height, width = map(int, size)
        spans = [Span("preprocess", start, time.monotonic_ns(), self.name)]
        return Preprocessed(tensor, (width, height), kept[0] if kept else None, spans)


def preprocessor(way: str, model_input: ModelInput, *, keep_pixels: bool = False) -> Preprocessor:
    """Return a new preprocessor for a DNN; an unknown way lists the known ones."""
    if way not in WAYS:
        raise VisiontaxError(
            f"unknown way to preprocess: {way}", hint=f"known ways: {', '.join(WAYS)}"
        )
    module, name = WAYS[way].split(":")
    made: Preprocessor = getattr(importlib.import_module(module), name)(
        model_input, keep_pixels=keep_pixels
    )
    return made


_thread = threading.local()


def preprocess(
    image: bytes, way: str, model_input: ModelInput, *, keep_pixels: bool = False
) -> Preprocessed:
    """Preprocess a JPEG with the calling thread's own preprocessor, made on first use."""
    return _own(way, model_input, keep_pixels=keep_pixels)(image)


def decode(image: bytes, way: str, model_input: ModelInput) -> Pixels:
    """Only decode a JPEG, like `preprocess` with these arguments does."""
    return _own(way, model_input).decoded(image)


def _own(way: str, model_input: ModelInput, *, keep_pixels: bool = False) -> Preprocessor:
    if not hasattr(_thread, "made"):
        _thread.made = {}
    made: dict[Any, Preprocessor] = _thread.made
    kind = (way, model_input, keep_pixels)
    if kind not in made:
        made[kind] = preprocessor(way, model_input, keep_pixels=keep_pixels)
    return made[kind]
