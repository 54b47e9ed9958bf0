"""Segmentation: which pixels show a person, by MediaPipe's selfie segmentation."""

import cv2
import numpy as np

from pipelines.tasks import Dnn, Task
from pipelines.tasks.tensors import ModelInput, Pixels, Tensors, TensorSpec

SIDE = 256
THRESHOLD = 0.5


def mask(outputs: Tensors, size: tuple[int, int]) -> Pixels:
    """Return the mask at the image's size, [height, width]: 255 for a person, 0 for the rest."""
    probability = cv2.resize(outputs["mask"][0], size, interpolation=cv2.INTER_LINEAR)
    person: Pixels = np.multiply(probability > THRESHOLD, 255, dtype=np.uint8)
    return person


TASK = Task(
    "segmentation",
    Dnn(
        "selfie_segmentation",
        ModelInput(SIDE, SIDE, "stretch", mean=(0, 0, 0), deviation=(1, 1, 1)),
        (TensorSpec("mask", np.float32, (1, SIDE, SIDE)),),
    ),
    mask,
)
