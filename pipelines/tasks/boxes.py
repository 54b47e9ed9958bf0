"""Boxes as detectors give them: one tensor of candidates, or boxes, scores and labels."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.tasks import Dnn, Regions
from pipelines.tasks.tensors import ModelInput, Tensors

FORMATS = ("boxes", "yolo")
"""How outputs have what was found:

"boxes": a tensor [n, 4] of left, top, right and bottom, one of n scores, and perhaps one of n whole
numbers, the labels. They are what the detector has chosen.
"yolo": a tensor [n, 4 + classes] or [4 + classes, n] of candidates: x and y of the centre, width,
height, a score a class; with `objectness` a number before the scores that they are multiplied by.
"""

THRESHOLD, OVERLAP, MOST = 0.25, 0.45, 300
"""The least score; the intersection over union from which two boxes of one class are one thing; and
how many things are kept: as Ultralytics has them.
"""

_MOST_CANDIDATES = 4096

Floats = npt.NDArray[np.float32]


def found(
    outputs: Tensors,
    size: tuple[int, int],
    *,
    dnn: Dnn,
    format: str,
    threshold: float = THRESHOLD,
    objectness: bool = False,
    relative: bool = False,
) -> Regions:
    """Return [n, 6], best first: left, top, right, bottom, class, score.

    Boxes are cut off at the image's edge. They are in pixels of the input, or `relative`, parts of
    it. Numbers that are not finite find nothing.
    """
    if format == "yolo":
        rows = _candidates(outputs[dnn.outputs[0].name], threshold, objectness=objectness)
    else:
        rows = _chosen([outputs[spec.name] for spec in dnn.outputs], threshold)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if relative:
        rows[:, :4] *= np.tile([dnn.input.width, dnn.input.height], 2)
    rows = _in_image(rows, dnn.input, size)
    return rows[((rows[:, 2:4] - rows[:, :2]) > 0).all(axis=1)]


def _candidates(tensor: npt.NDArray[Any], threshold: float, *, objectness: bool) -> Floats:
    """Return the best of the candidates, the lesser ones of two that overlap left out."""
    rows: Any = np.asarray(tensor, np.float32).reshape(tensor.shape[-2:])
    if rows.shape[0] < rows.shape[1]:  # there are more candidates than numbers about each
        rows = rows.T
    first = 5 if objectness else 4
    scores = rows[:, first:] * (rows[:, 4:5] if objectness else 1)
    classes = scores.argmax(axis=1)
    score = scores[np.arange(len(rows)), classes]
    best = np.flatnonzero(score > threshold)
    best = best[np.argsort(-score[best], kind="stable")[:_MOST_CANDIDATES]]
    corner, sides = rows[best, :2] - rows[best, 2:4] / 2, rows[best, 2:4]
    boxes: Any = np.hstack([corner, sides])
    found = cv2.dnn.NMSBoxesBatched(boxes, score[best], classes[best].tolist(), threshold, OVERLAP)
    kept = np.array(found[:MOST], np.int64)
    corner, sides, best = corner[kept], sides[kept], best[kept]
    labels = np.stack([classes[best], score[best]], axis=1)
    return np.hstack([corner, corner + sides, labels]).astype(np.float32)


def _chosen(tensors: list[npt.NDArray[Any]], threshold: float) -> Floats:
    """Return what the detector has chosen, in its order."""
    boxes = next(one for one in tensors if one.shape[-1:] == (4,)).reshape(-1, 4)
    lists = [one.reshape(-1) for one in tensors if one.size == len(boxes)]
    nothing = np.ones(len(boxes))
    scores = next((one for one in lists if one.dtype.kind == "f"), nothing)
    labels = next((one for one in lists if one.dtype.kind in "iu"), nothing * 0)
    rows = np.column_stack([boxes, labels, scores]).astype(np.float32)
    return rows[rows[:, 5] > threshold][:MOST]


def _in_image(rows: Floats, seen: ModelInput, size: tuple[int, int]) -> Floats:
    """Return the boxes in pixels of the image, which was placed in the input."""
    place = seen.place(*size)
    scale = np.array([place.width / place.to_width, place.height / place.to_height], np.float32)
    origin = np.array([place.left, place.top], np.float32)
    rows[:, :4] = rows[:, :4] * np.tile(scale, 2) + np.tile(origin, 2)
    rows[:, :4] = np.clip(rows[:, :4], 0, np.tile(size, 2))
    return rows
