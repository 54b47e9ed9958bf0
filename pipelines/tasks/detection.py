"""Detection: where things are, and CenterFace's way to say it: faces and their five landmarks."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.errors import VisiontaxError
from pipelines.tasks import Dnn, Regions, boxes
from pipelines.tasks.tensors import Tensors

CELL = 4
"""Pixels of the input that a cell of the outputs stands for, in each direction."""

THRESHOLD = 0.4
OVERLAP = 0.3
"""Intersection over union from which two boxes are one face."""

MOST_CANDIDATES, MOST_FACES = 1024, 64
"""However many cells are above THRESHOLD, so many of the best are looked at, and so many kept."""

Floats = npt.NDArray[np.floating[Any]]


def found(
    outputs: Tensors,
    size: tuple[int, int],
    *,
    dnn: Dnn,
    format: str = "boxes",
    **options: Any,
) -> Regions:
    """Return [n, k] things that were found, in pixels of the image, score last.

    `format` says how the outputs have them: "centerface", or one that `boxes` reads.
    """
    if format == "centerface":
        return faces(outputs, size, dnn=dnn)
    if format not in boxes.FORMATS:
        known = ", ".join(["centerface", *boxes.FORMATS])
        raise VisiontaxError(f"unknown format of detections: {format}", hint=f"known: {known}")
    return boxes.found(outputs, size, dnn=dnn, format=format, **options)


def faces(outputs: Tensors, size: tuple[int, int], *, dnn: Dnn) -> Regions:
    """Return [n, 15] faces after non-maximum suppression, from top to bottom, left to right:
    left, top, right, bottom, x and y of five landmarks, score.

    Boxes end at the image's edge, landmarks may lie beyond it. What the outputs say in numbers that
    are not finite is no face.
    """
    place = dnn.input.place(*size)
    width, height = size
    with np.errstate(over="ignore", invalid="ignore"):
        found = _candidates(outputs, to_width=place.to_width, to_height=place.to_height)
        found[:, 0:14:2] *= width / place.to_width
        found[:, 1:14:2] *= height / place.to_height
    np.clip(found[:, :4], 0, [width, height, width, height], out=found[:, :4])
    sides = found[:, 2:4] - found[:, :2]
    found = found[(sides > 0).all(axis=1) & np.isfinite(found).all(axis=1)]
    found = found[_distinct(found)]
    centres = (found[:, :2] + found[:, 2:4]) / 2
    return found[reading_order(centres, found[:, 3] - found[:, 1])]


def _candidates(outputs: Tensors, *, to_width: int, to_height: int) -> Regions:
    """Return the cells that see a face's centre as rows in pixels of the input, best first.

    As CenterFace's authors decode it (Star-Clouds/CenterFace, prj-python/centerface.py): sides are
    logarithms, heights come before widths and y before x, landmarks are parts of the sides. But the
    authors count landmarks from a box already cut off at the image's edge, which moves them.
    """
    heatmap = outputs["heatmap"][0, : -(-to_height // CELL), : -(-to_width // CELL)]
    y, x = np.nonzero(heatmap > THRESHOLD)
    best = np.argsort(-heatmap[y, x], kind="stable")[:MOST_CANDIDATES]
    y, x = y[best], x[best]
    rows = np.empty((len(best), 15), np.float32)
    sides = np.exp(outputs["scale"][::-1, y, x].T) * CELL
    centres = (outputs["offset"][::-1, y, x].T + np.stack([x, y], axis=1) + 0.5) * CELL
    rows[:, :2] = centres - sides / 2
    rows[:, 2:4] = centres + sides / 2
    landmarks = outputs["landmarks"][:, y, x].reshape(5, 2, -1)[:, ::-1].transpose(2, 0, 1)
    rows[:, 4:14] = (rows[:, None, :2] + landmarks * sides[:, None]).reshape(-1, 10)
    rows[:, 14] = heatmap[y, x]
    return rows


def _distinct(faces: Regions) -> npt.NDArray[np.int64]:
    """Return which faces, sorted best first, overlap no better one: at most MOST_FACES."""
    boxes: Any = np.hstack([faces[:, :2], faces[:, 2:4] - faces[:, :2]])
    scores: Any = faces[:, 14]
    kept = cv2.dnn.NMSBoxes(boxes, scores, score_threshold=0.0, nms_threshold=OVERLAP)
    return np.array(kept[:MOST_FACES], np.int64)


def reading_order(centres: Floats, heights: Floats) -> npt.NDArray[np.int64]:
    """Return the order from top to bottom, and from left to right in a row.

    `centres` is [n, 2], x and y; `heights` is [n]. A row is its highest region and those whose
    centres are at most half a height, the smaller one's, below its centre: neighbours keep their
    order though the ways to preprocess move them by a fraction of a pixel.
    """
    x, y = centres.T
    rows = np.zeros(len(centres), np.int64)
    row, first = -1, None
    for i in np.argsort(y, kind="stable"):
        if first is None or y[i] - y[first] > min(heights[first], heights[i]) / 2:
            row, first = row + 1, i
        rows[i] = row
    return np.lexsort((x, rows))
