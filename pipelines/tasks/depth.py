"""Depth: a map of distances at the image's size.

The one that is shipped, MobileNetV2's encoder and a decoder of weights drawn from a seed, is
untrained, as no registry has free weights: what it takes is what such a network takes, what it says
means nothing.
"""

from typing import cast

import cv2
import numpy as np

from pipelines.tasks import Dnn
from pipelines.tasks.tensors import Tensor, Tensors


def depth(outputs: Tensors, size: tuple[int, int], *, dnn: Dnn) -> Tensor:
    """Return the first output, a map, at the image's size: [height, width], float32, in whatever
    unit the DNN has.
    """
    found = np.squeeze(outputs[dnn.outputs[0].name]).astype(np.float32, copy=False)
    return cast(Tensor, cv2.resize(found, size, interpolation=cv2.INTER_LINEAR))
