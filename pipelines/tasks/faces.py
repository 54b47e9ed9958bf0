"""The chain `faces`: CenterFace finds them, MobileFaceNet embeds each, aligned by its landmarks."""

from typing import cast

import cv2
import numpy as np

from pipelines.tasks import Chain, Dnn, detection
from pipelines.tasks.tensors import ModelInput, Pixels, Tensor, Tensors, TensorSpec

SIDE = 112

LANDMARKS = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""x and y, in the DNN's input, of the eye at the left and the one at the right, the nose, and the
corners of the mouth: InsightFace's (deepinsight/insightface, face_align.py)."""

_LEAST = 1e-9  # against division by zero
_LANDMARKS = np.array([complex(*landmark) for landmark in LANDMARKS])


def align(image: Pixels, region: Tensor) -> Pixels:
    """Return the face turned and scaled so that its landmarks lie where the DNN expects them.

    They do so in the sense of least squares (Umeyama 1991); as points of the complex plane, where
    turning and scaling is one multiplication, that is a regression. Landmarks that are all one
    point make the whole crop that point's colour.
    """
    landmarks = region[4:14:2] + 1j * region[5:14:2].astype(np.float64)
    middle, middle_there = landmarks.mean(), _LANDMARKS.mean()
    centred = landmarks - middle
    turn = np.vdot(centred, _LANDMARKS) / max(np.vdot(centred, centred).real, _LEAST)
    move = middle_there - turn * middle
    there = np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])
    return cast(Pixels, cv2.warpAffine(image, there, (SIDE, SIDE), flags=cv2.INTER_LINEAR))


def embedding(outputs: Tensors) -> bytes:
    """Return the embedding, float32, scaled to unit length."""
    found = outputs["embedding"]
    unit: Tensor = (found / max(float(np.linalg.norm(found)), _LEAST)).astype(np.float32)
    return unit.tobytes()


def vector(packed: bytes) -> Tensor:
    """Return the embedding as an array, [192]."""
    return np.frombuffer(packed, np.float32)


CHAIN = Chain(
    "faces",
    detection.TASK,
    Dnn(
        "mobilefacenet",
        ModelInput(SIDE, SIDE, "stretch", mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
        (TensorSpec("embedding", np.float32, (192,)),),
    ),
    cut=align,
    read=embedding,
    value=vector,
)
