"""The way `opencv`."""

from typing import Any, cast

import cv2
import numpy as np

from pipelines.errors import ImageError
from pipelines.preprocess.formats import Picture
from pipelines.preprocess.ways import Stepwise
from pipelines.tasks.tensors import Pixels, Placement

_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}
"""What makes OpenCV decode a JPEG so many times smaller, to RGB: IMREAD_REDUCED_COLOR is BGR."""


class OpenCV(Stepwise):
    """OpenCV."""

    name = "opencv"

    def decode(self, picture: Picture, *, by: int) -> Any:
        """Return the [height, width, 3] RGB pixels."""
        try:
            image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), _FLAGS[by])
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
