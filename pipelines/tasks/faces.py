"""The chain `faces`: CenterFace finds them, MobileFaceNet embeds each, aligned by its landmarks."""

from typing import cast

import cv2
import numpy as np

from pipelines.tasks.tensors import ModelInput, Pixels, Tensor, Tensors

_SIDE = 112

LANDMARKS = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""x and y, in an input of _SIDE x _SIDE, of the eye at the left and the one at the right, the nose,
and the corners of the mouth: InsightFace's (deepinsight/insightface, face_align.py)."""

_LEAST = 1e-9  # against division by zero
_LANDMARKS = np.array([complex(*landmark) for landmark in LANDMARKS])


def cut(image: Pixels, region: Tensor, *, to: ModelInput) -> Pixels:
    """Return the face turned and scaled so that its landmarks lie where the DNN expects them.

    They do so in the sense of least squares (Umeyama 1991); as points of the complex plane, where
    turning and scaling is one multiplication, that is a regression. Landmarks that are all one
    point make the whole crop that point's colour.
    """
    landmarks = region[4:14:2] + 1j * region[5:14:2].astype(np.float64)
    wanted = _LANDMARKS * to.width / _SIDE
    middle, middle_there = landmarks.mean(), wanted.mean()
    centred = landmarks - middle
    turn = np.vdot(centred, wanted) / max(np.vdot(centred, centred).real, _LEAST)
    move = middle_there - turn * middle
    there = np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])
    return cast(Pixels, cv2.warpAffine(image, there, (to.width, to.height), flags=cv2.INTER_LINEAR))


def read(outputs: Tensors) -> bytes:
    """Return the embedding, float32, scaled to unit length."""
    found = outputs["embedding"]
    unit: Tensor = (found / max(float(np.linalg.norm(found)), _LEAST)).astype(np.float32)
    return unit.tobytes()


def value(packed: bytes) -> Tensor:
    """Return the embedding as an array, [192]."""
    return np.frombuffer(packed, np.float32)
