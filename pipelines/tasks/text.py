"""The chain `text`: PP-OCRv4 detects lines and recognises the characters of each."""

import functools
import math
from itertools import groupby

import cv2
import numpy as np

from pipelines.errors import ServerError
from pipelines.paths import REPOSITORY
from pipelines.tasks.tensors import ModelInput, Pixels, Tensor, Tensors

GREY = 127
"""The level that is normalised to about 0, with which PP-OCR fills up a line's input."""

CHARSET = REPOSITORY / "ppocr_rec" / "1" / "charset.txt"
"""UTF-8, a character a line: the first is symbol 1, as 0 is CTC's blank; the last is a space."""


def cut(image: Pixels, region: Tensor, *, to: ModelInput) -> Pixels:
    """Return the line, upright and as high as the input; what is narrower ends in grey.

    What is longer is squeezed; beyond the image's edge its last pixels are repeated.
    """
    corners = region[:8].reshape(4, 2).astype(np.float64)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    length = to.height * math.hypot(*along) / math.hypot(*across)
    width = max(1, round(min(length, to.width)))
    along, across = along / width, across / to.height
    # Corners count from the edges of pixels, OpenCV from their middles.
    first = corners[0] + (along + across) / 2 - 0.5
    line = np.full((to.height, to.width, 3), GREY, np.uint8)
    line[:, :width] = cv2.warpAffine(
        image,
        np.column_stack([along, across, first]),
        (width, to.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return line


def read(outputs: Tensors) -> bytes:
    """Return the text, UTF-8, of `symbols` by the greedy CTC rule: repeats and blanks dropped.

    So are spaces at its ends, which the DNN sees or not by chance. Raises ServerError when the
    DNN's characters are not there.
    """
    known = characters()
    symbols = outputs["symbols"].tolist()
    text = "".join(known[symbol - 1] for symbol, _ in groupby(symbols) if 0 < symbol <= len(known))
    return text.strip().encode()


@functools.cache
def characters() -> list[str]:
    """Return CHARSET's characters, read once. Raises ServerError when they are not there."""
    try:
        return CHARSET.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ServerError(
            f"the characters of the text model cannot be read: {error}", hint="run 'bench models'"
        ) from error


value = bytes.decode
