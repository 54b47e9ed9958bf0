"""Lines of text, as PP-OCRv4 detects them: the first part of the chain `text`."""

import math
from typing import Any

import cv2
import numpy as np

from pipelines.tasks import Dnn, Regions
from pipelines.tasks.detection import reading_order
from pipelines.tasks.tensors import Tensor, Tensors

THRESHOLD = 0.3
"""Probability from which a pixel belongs to text."""

LEAST_SCORE = 0.5
"""Mean probability that a line's rectangle must have."""

LEAST_SIDE = 3
"""Pixels of the input that the rectangle must have on its shorter side."""

UNCLIP = 1.6
"""The DNN marks the core of a line; each side moves outwards by area * UNCLIP / perimeter."""

UPRIGHT = 1.5
"""How many times as high as wide an area is from which it is a line turned on its side."""

MOST_LINES = 64
"""So many areas are looked at, the largest."""


def lines(outputs: Tensors, size: tuple[int, int], *, dnn: Dnn) -> Regions:
    """Return [n, 9] lines from top to bottom, left to right: x and y of the corners, from the top
    left one clockwise as the text is read, and the score.

    Corners may lie beyond the image's edge: cut off there, a slanted line would be no rectangle.
    Text is taken to be read from left to right, or from top to bottom where that is steeper.
    The method and its figures are PP-OCR's (DBPostProcess in PaddlePaddle/PaddleOCR).
    """
    place = dnn.input.place(*size)
    probability = outputs["probability"][0, : place.to_height, : place.to_width]
    found = [line for area in _areas(probability) if (line := _line(probability, area)) is not None]
    rows = np.array(found, np.float32).reshape(-1, 9)
    corners = rows[:, :8].reshape(-1, 4, 2)
    corners *= np.array(size) / (place.to_width, place.to_height)
    heights = np.linalg.norm(corners[:, 3] - corners[:, 0], axis=1)
    return rows[reading_order(corners.mean(axis=1), heights)]


def _areas(probability: Tensor) -> list[Any]:
    """Return the outlines of the largest connected areas of text, at most MOST_LINES."""
    text = (probability > THRESHOLD).view(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(text)
    # Label 0 is what is no text.
    largest = 1 + np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_LINES]
    outlines = []
    for label in largest:
        left, top, width, height, _ = boxes[label].tolist()
        area = labels[top : top + height, left : left + width] == label
        found, _ = cv2.findContours(
            area.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        outlines.append(found[0])
    return outlines


def _line(probability: Tensor, outline: Any) -> list[float] | None:
    """Return the corners, in pixels of the input, and the score; None when it is no line."""
    rectangle = cv2.minAreaRect(outline)
    (x, y), (width, height), degrees = rectangle
    # The outline runs through the middles of pixels.
    x, y, width, height = x + 0.5, y + 0.5, width + 1, height + 1
    if min(width, height) < LEAST_SIDE:
        return None
    score = _mean_inside(probability, cv2.boxPoints(rectangle))
    if not score >= LEAST_SCORE:  # nor is it a line when it is not a number
        return None
    outwards = width * height * UNCLIP / (2 * (width + height))
    width, height = width + 2 * outwards, height + 2 * outwards
    width, height, angle = _as_read(width, height, math.radians(degrees))
    corners = cv2.boxPoints(((x, y), (width, height), math.degrees(angle)))
    return [*np.roll(corners, -1, axis=0).ravel().tolist(), score]  # OpenCV begins before ours


def _mean_inside(probability: Tensor, corners: Any) -> float:
    """Return the mean of the map over a rectangle of any direction."""
    left, top, width, height = cv2.boundingRect(corners)
    left, top = max(left, 0), max(top, 0)
    part = probability[top : top + height, left : left + width]
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(corners - (left, top)).astype(np.int32), 1)
    return float(cv2.mean(part, inside)[0])


def _as_read(width: float, height: float, angle: float) -> tuple[float, float, float]:
    """Return the same rectangle with the width, and its angle, in the direction of reading."""
    if width < height:
        width, height, angle = height, width, angle + math.pi / 2
    if width >= UPRIGHT * height:
        backwards = math.cos(angle) + math.sin(angle) < 0  # between 135 and 315 degrees
        return width, height, angle + math.pi * backwards
    quarters = round(angle / (math.pi / 2))
    if quarters % 2:
        width, height = height, width
    return width, height, angle - quarters * math.pi / 2
