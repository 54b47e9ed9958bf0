"""How far two answers about the same image agree, from 0 to 1, by the pipeline that gave them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_OVERLAP = 0.5
"""Of two boxes that are of one thing: intersection over union, as in PASCAL VOC."""

Boxes = npt.NDArray[np.floating[Any]]


def top_class(one: Any, other: Any) -> float:
    """Whether the likeliest class is the same."""
    return float(one[0][0] == other[0][0])


def mask(one: Any, other: Any) -> float:
    """Intersection over union of what is marked; 1 where neither marks anything."""
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0


def boxes(one: Boxes, other: Boxes) -> float:
    """The part of all boxes that have a partner in the other answer, each one at most, by
    LEAST_OVERLAP; 1 where neither has any. The best overlaps are taken first.
    """
    if not len(one) and not len(other):
        return 1.0
    left = overlaps(one[:, :4], other[:, :4])
    pairs = 0
    while left.size and left.max() >= LEAST_OVERLAP:
        row, column = np.unravel_index(left.argmax(), left.shape)
        left[row, :] = left[:, column] = 0
        pairs += 1
    return 2 * pairs / (len(one) + len(other))


def overlaps(one: Boxes, other: Boxes) -> Boxes:
    """Return the intersection over union of each of n boxes with each of m, [n, m]."""
    first, second = one[:, None], other[None]
    low = np.maximum(first[..., :2], second[..., :2])
    both = _area(low, np.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - both
    found: Boxes = both / np.maximum(union, np.finfo(union.dtype).tiny)
    return found


def _area(low: Boxes, high: Boxes) -> Boxes:
    areas: Boxes = np.clip(high - low, 0, None).prod(axis=-1)
    return areas


def words(one: Any, other: Any) -> float:
    """The part of all lines that the other answer reads alike; 1 where neither reads any."""
    first, second = Counter(one.values), Counter(other.values)
    count = first.total() + second.total()
    return 2 * (first & second).total() / count if count else 1.0


AGREEMENT: dict[str, Callable[[Any, Any], float]] = {
    "classification": top_class,
    "detection": boxes,
    "segmentation": mask,
    "text": words,
}
"""What is compared of each pipeline's answers."""

WHAT = {
    "classification": "likeliest class",
    "detection": f"boxes, by an overlap of {LEAST_OVERLAP:g}",
    "segmentation": "mask, intersection over union",
    "text": "lines, word by word",
}
"""What that is in words."""
