"""The way `simplejpeg`: JPEGs by libjpeg-turbo alone, all else as `opencv`."""

from typing import Any

import cv2
import numpy as np
import simplejpeg

from pipelines.preprocess.formats import JPEG, Picture
from pipelines.preprocess.opencv import OpenCV


class SimpleJpeg(OpenCV):
    """simplejpeg to decode, OpenCV to resize."""

    name = "simplejpeg"

    def decode(self, picture: Picture, *, by: int) -> Any:
        """Return the [height, width, 3] RGB pixels."""
        if picture.format != JPEG:
            return super().decode(picture, by=by)
        try:
            # Of the sizes that the library knows it takes the smallest that is not below these.
            pixels = simplejpeg.decode_jpeg(
                picture.data,
                "RGB",
                min_width=-(-picture.width // by),
                min_height=-(-picture.height // by),
                strict=False,
            )
        except ValueError:  # four colours, or odd sampling; or OpenCV will say what is wrong
            return super().decode(picture, by=by)
        return _upright(pixels, picture.orientation)


def _upright(pixels: Any, orientation: int) -> Any:
    """Return the pixels turned as EXIF's orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # 0: upside down, 1: left to right, -1: both
    return cv2.flip(pixels, flips[orientation]) if orientation in flips else np.asarray(pixels)
