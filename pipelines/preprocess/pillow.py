"""The way `pillow`."""

import io
import warnings
from typing import Any, cast

import numpy as np
from PIL import Image

from pipelines.errors import ImageError
from pipelines.preprocess.choose import FULL
from pipelines.preprocess.formats import Picture
from pipelines.preprocess.ways import Stepwise
from pipelines.tasks.tensors import ModelInput, Pixels, Placement

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

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool, decode: str = FULL) -> None:
        super().__init__(model_input, keep_pixels=keep_pixels, decode=decode)
        Image.MAX_IMAGE_PIXELS = None  # `jpeg` holds the limit, the same for every way
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged EXIF, on every image

    def decode(self, picture: Picture, *, by: int) -> Any:
        """Return a PIL image in mode RGB."""
        try:
            image: Image.Image = Image.open(io.BytesIO(picture.data), formats=_FORMATS)
            image.draft(None, (image.width // by, image.height // by))
            if image.mode.startswith("I;16"):  # which `convert` would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            pixels = image.convert("RGB")
        except Exception as error:  # hostile headers make it raise nearly anything
            unknown = "cannot identify" in str(error)
            why = "it is corrupt or of an unknown kind" if unknown else error
            raise ImageError(f"Pillow cannot decode the image: {why}") from error
        turn = _TURNS.get(picture.orientation)  # a TIFF it turns by itself
        return pixels if turn is None else pixels.transpose(turn)

    def size(self, image: Any) -> tuple[int, int]:
        return cast("tuple[int, int]", image.size)

    def resize(self, image: Any, where: Placement) -> Pixels:
        """Scale with Pillow's bilinear filter, which antialiases when shrinking."""
        box = (where.left, where.top, where.left + where.width, where.top + where.height)
        to = (where.to_width, where.to_height)
        return np.asarray(image.resize(to, Image.Resampling.BILINEAR, box=box))
