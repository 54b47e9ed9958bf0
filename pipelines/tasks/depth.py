"""Depth: a map of distances, by MobileNetV2's encoder and an untrained decoder.

No registry has free weights for depth. The decoder's are drawn from a seed: what it takes is what
such a network takes, what it says means nothing.
"""

from typing import cast

import cv2
import numpy as np

from pipelines.tasks import Dnn, Task
from pipelines.tasks.tensors import ModelInput, Tensor, Tensors, TensorSpec

SIDE = 224


def depth(outputs: Tensors, size: tuple[int, int]) -> Tensor:
    """Return the map at the image's size, [height, width], float32, without a unit."""
    return cast(Tensor, cv2.resize(outputs["depth"][0], size, interpolation=cv2.INTER_LINEAR))


TASK = Task(
    "depth",
    Dnn(
        "depth_untrained",
        ModelInput(SIDE, SIDE, "stretch"),
        (TensorSpec("depth", np.float32, (1, SIDE, SIDE)),),
    ),
    depth,
)
