"""An encoded image to a DNN's input tensor, in one of three ways that agree on what they compute.

Every way decodes to RGB (EXIF rotation applied), scales the part of the image that the ModelInput
asks for with an antialiasing bilinear filter, and normalises. For the central square that is the
usual "resize the short side to 256, crop 224" without computing pixels that are then thrown away.
"""

import functools
import io
import pkgutil
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, Protocol, cast

import cv2
import numpy as np
from PIL import ExifTags, Image, features

from pipelines.errors import ImageError
from pipelines.preprocess import formats
from pipelines.preprocess.choose import WAYS
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

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Return the RGB pixels of the box, scaled."""
        raise NotImplementedError

    def decoded(self, data: bytes) -> Pixels:
        return np.asarray(self.decode(formats.admitted(data).data))

    def __call__(self, data: bytes) -> Preprocessed:
        start = time.monotonic_ns()
        image = self.decode(formats.admitted(data).data)
        kept = np.asarray(image) if self._keep_pixels else None
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
    """OpenCV."""

    name = "opencv"

    def decode(self, data: bytes) -> Any:
        """Return the [height, width, 3] RGB pixels."""
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot decode the image: {error.err}") from error
        if image is None:
            raise ImageError("OpenCV cannot decode the image: it is corrupt or of an unknown kind")
        return image

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Average over areas when shrinking, interpolate linearly when growing."""
        to = (where.to_width, where.to_height)
        if where.width > where.to_width and where.height > where.to_height:
            box = image[where.top : where.top + where.height, where.left : where.left + where.width]
            return cast(Pixels, cv2.resize(box, to, interpolation=cv2.INTER_AREA))
        # Like the other ways, and unlike `resize` of a cut-out box, this interpolates at the box's
        # edge with the pixels beyond it.
        step = np.array([where.width, where.height]) / to
        first = np.array([where.left, where.top]) + (step - 1) / 2
        box = np.column_stack([np.diag(step), first])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        edge = cv2.BORDER_REPLICATE
        return cast(Pixels, cv2.warpAffine(image, box, to, flags=how, borderMode=edge))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of that EXIF orientation upright."""


_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


class Pillow(Stepwise):
    """Pillow, or pillow-simd where it is installed."""

    name = "pillow"

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        super().__init__(model_input, keep_pixels=keep_pixels)
        Image.MAX_IMAGE_PIXELS = None  # `jpeg` holds the limit, the same for every way
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged EXIF, on every image

    def decode(self, data: bytes) -> Any:
        """Return a PIL image in mode RGB."""
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
            # Pillow turns a TIFF by itself.
            exif = image.getexif() if data.startswith(b"\xff\xd8") else {}
            turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
            if image.mode.startswith("I;16"):  # which `convert` would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            pixels = image.convert("RGB")
        except Exception as error:  # hostile headers make it raise nearly anything
            unknown = "cannot identify" in str(error)
            why = "it is corrupt or of an unknown kind" if unknown else error
            raise ImageError(f"Pillow cannot decode the image: {why}") from error
        return pixels if turn is None else pixels.transpose(turn)

    def size(self, image: Any) -> tuple[int, int]:
        return cast("tuple[int, int]", image.size)

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Scale with Pillow's bilinear filter, which antialiases when shrinking."""
        box = (where.left, where.top, where.left + where.width, where.top + where.height)
        to = (where.to_width, where.to_height)
        return np.asarray(image.resize(to, Image.Resampling.BILINEAR, box=box))


def lacks(preprocess: str) -> tuple[str, ...]:
    """Return the formats that this way cannot read as it is installed here."""
    if preprocess != Pillow.name:
        return ()
    parts = {"WebP": "webp", formats.COMPRESSED_TIFF: "libtiff"}
    return tuple(name for name, part in parts.items() if not features.check(part))


def preprocessor(
    preprocess: str, model_input: ModelInput, *, keep_pixels: bool = False
) -> Preprocessor:
    """Return a new preprocessor for a DNN, by one of the WAYS."""
    made: Preprocessor = pkgutil.resolve_name(WAYS[preprocess])(
        model_input, keep_pixels=keep_pixels
    )
    return made


class _Thread(threading.local):
    def __init__(self) -> None:
        self.preprocessor = functools.cache(preprocessor)


_thread = _Thread()


def own(preprocess: str, model_input: ModelInput, *, keep_pixels: bool = False) -> Preprocessor:
    """Return the calling thread's own preprocessor, made on first use."""
    return _thread.preprocessor(preprocess, model_input, keep_pixels=keep_pixels)
