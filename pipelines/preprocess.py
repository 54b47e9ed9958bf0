"""JPEG bytes to the DNN's input tensor, in one of three ways that agree on what they compute.

Every way decodes to RGB (EXIF rotation applied), takes the central square of 7/8 of the short side,
scales it to SIZE x SIZE with an antialiasing bilinear filter, and normalises with the ImageNet mean
and deviation. That is the usual "resize the short side to 256, crop 224" without computing the
pixels that the crop throws away.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from pipelines import jpeg
from pipelines.errors import ImageError, VisiontaxError
from pipelines.spans import Span

SIZE = 224
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

_SCALE = np.array([1 / (255 * s) for s in DEVIATION], np.float32).reshape(3, 1, 1)
_OFFSET = np.array([m / s for m, s in zip(MEAN, DEVIATION, strict=True)], np.float32).reshape(
    3, 1, 1
)

Pixels = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]


class Preprocessor(Protocol):
    """One way to preprocess."""

    def __call__(self, data: bytes) -> tuple[Tensor, list[Span]]:
        """Return the [3, SIZE, SIZE] tensor of a JPEG and the spans spent on it.

        Raises ImageError when the data is not an image that can be preprocessed.
        """


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """Return (left, top, side) in pixels of the square that is scaled to the model's input."""
    side = max(1, min(width, height) * 7 // 8)
    return (width - side) // 2, (height - side) // 2, side


class Stepwise:
    """A way whose decode, resize and normalize can be timed one by one."""

    name = ""

    def decode(self, data: bytes) -> Any:
        """Return the decoded image in the library's own type."""
        raise NotImplementedError

    def resize(self, image: Any) -> Pixels:
        """Return the [SIZE, SIZE, 3] RGB pixels of the image's central square."""
        raise NotImplementedError

    def normalize(self, pixels: Pixels) -> Tensor:
        """Return the [3, SIZE, SIZE] tensor of RGB pixels."""
        tensor = np.multiply(pixels.transpose(2, 0, 1), _SCALE, dtype=np.float32, order="C")
        tensor -= _OFFSET
        return tensor

    def __call__(self, data: bytes) -> tuple[Tensor, list[Span]]:
        start = time.monotonic_ns()
        jpeg.check(data)
        image = self.decode(data)
        decoded = time.monotonic_ns()
        pixels = self.resize(image)
        resized = time.monotonic_ns()
        tensor = self.normalize(pixels)
        end = time.monotonic_ns()
        return tensor, [
            Span("decode", start, decoded, self.name),
            Span("resize", decoded, resized, self.name),
            Span("normalize", resized, end, self.name),
        ]


class OpenCV(Stepwise):
    """OpenCV, on one thread: instances, not threads, fill the cores."""

    name = "opencv"

    def __init__(self) -> None:
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

    def resize(self, image: Any) -> Pixels:
        """Average over areas when shrinking, interpolate linearly when growing."""
        height, width = image.shape[:2]
        left, top, side = central_square(width, height)
        pixels: Any
        if side > SIZE:
            square = image[top : top + side, left : left + side]
            pixels = self._cv2.resize(square, (SIZE, SIZE), interpolation=self._cv2.INTER_AREA)
            return cast(Pixels, pixels)
        # Like the other ways, and unlike `resize` of a cut-out square, this interpolates at the
        # square's edge with the pixels beyond it.
        step = side / SIZE
        first = np.array([left, top]) + (step - 1) / 2
        pixels = self._cv2.warpAffine(
            image,
            np.column_stack([np.eye(2) * step, first]),
            (SIZE, SIZE),
            flags=self._cv2.INTER_LINEAR | self._cv2.WARP_INVERSE_MAP,
            borderMode=self._cv2.BORDER_REPLICATE,
        )
        return cast(Pixels, pixels)


class Pillow(Stepwise):
    """Pillow, or pillow-simd where it is installed."""

    name = "pillow"

    def __init__(self) -> None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # pipelines.jpeg holds the limit, the same for every way
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

    def resize(self, image: Any) -> Pixels:
        """Scale with Pillow's bilinear filter, which antialiases when shrinking."""
        left, top, side = central_square(*image.size)
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((SIZE, SIZE), self._bilinear, box=box))


def _reason(error: Exception) -> str:
    text = str(error)
    return "it is corrupt or of an unknown kind" if "cannot identify" in text else text


class Dali:
    """NVIDIA DALI on the CPU: one graph, timed as one box."""

    name = "dali"

    def __init__(self) -> None:
        from pipelines import dali_graph

        self._graph = dali_graph.build(batch_size=1, threads=1)
        self._run = dali_graph.run

    def __call__(self, data: bytes) -> tuple[Tensor, list[Span]]:
        start = time.monotonic_ns()
        jpeg.check(data)
        tensor = self._run(self._graph, [data])[0]
        return tensor, [Span("preprocess", start, time.monotonic_ns(), self.name)]


WAYS: dict[str, Callable[[], Preprocessor]] = {
    "opencv": OpenCV,
    "pillow": Pillow,
    "dali": Dali,
}


def preprocessor(name: str) -> Preprocessor:
    """Return a new preprocessor of the way `name`; an unknown name lists the known ones."""
    if name not in WAYS:
        raise VisiontaxError(
            f"unknown way to preprocess: {name}", hint=f"known ways: {', '.join(WAYS)}"
        )
    return WAYS[name]()
