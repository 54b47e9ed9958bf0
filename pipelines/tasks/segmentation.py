"""Segmentation: which pixels show what, as a mask at the image's size."""

from typing import cast

import cv2
import numpy as np

from pipelines.tasks import Dnn
from pipelines.tasks.tensors import Pixels, Tensors

THRESHOLD = 0.5
"""Of a DNN that says of one class how likely a pixel shows it."""


def mask(
    outputs: Tensors, size: tuple[int, int], *, dnn: Dnn, threshold: float = THRESHOLD
) -> Pixels:
    """Return the mask, [height, width], of the first output.

    Of one map of probabilities: 255 above the threshold and 0 elsewhere; of a map a class, along
    the first or last axis, the number of the likeliest; of whole numbers those, which are classes.
    """
    found = outputs[dnn.outputs[0].name]
    if found.ndim > 2:
        found = np.squeeze(found)
    if found.dtype.kind in "iu":
        whole = found.astype(np.uint8)
        return cast(Pixels, cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST))
    if found.ndim == 2:
        likely = cv2.resize(
            found.astype(np.float32, copy=False), size, interpolation=cv2.INTER_LINEAR
        )
        return cast(Pixels, np.multiply(likely > threshold, 255, dtype=np.uint8))
    classes = 2 if found.shape[-1] < found.shape[0] else 0
    label = found.argmax(axis=classes).astype(np.uint8)
    return cast(Pixels, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))
