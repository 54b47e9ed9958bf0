"""What the outputs of a model that nobody described may mean."""

from collections.abc import Sequence
from typing import Any

from bench.prepare.own.stated import Hints, Seen
from pipelines.tasks.tensors import TYPES

_CLASSES = 2
_CANDIDATES = 256
"""From so many rows on a tensor is one of a detector's candidates, and not of what it chose."""


def kind_of(image: Seen, outputs: Sequence[Seen], hints: Hints) -> tuple[str, str]:
    """The task, and why it is taken to be that."""
    first = outputs[0]
    rest = [side for side in first.shape[1:] if side != 1]
    if any(each.shape[-1:] == (4,) for each in outputs) and len(outputs) > 1:
        return "detection", "one output is of four numbers each, as boxes are"
    if len(outputs) > 1:
        return "tensor", f"what its {len(outputs)} outputs mean is not known"
    if len(first.shape) == 3 and hints.last == "Softmax":
        return "tensor", f"{first} is rows of probabilities"
    if _is_candidates(first):
        return "detection", f"{first} looks like candidates of a detector"
    if len(rest) == 1 and rest[0] >= _CLASSES and len(first.shape) in (2, 4):
        return "classification", f"{first} is a number a class"
    maps = [side for side in first.shape[1:] if side < 0 or side >= max(8, max(image.shape) // 16)]
    if len(first.shape) in (3, 4) and len(maps) >= 2:
        if TYPES[first.type]().dtype.kind in "iu" or len(rest) == 3:
            return "segmentation", f"{first} is a class, or a map a class"
        if hints.last == "Sigmoid":
            return "segmentation", f"{first} is one map between 0 and 1"
        return "depth", f"{first} is one map"
    return "tensor", f"what {first} means is not known"


def _is_candidates(tensor: Seen) -> bool:
    if len(tensor.shape) != 3:
        return False
    few, many = sorted(tensor.shape[1:])
    if few < 0:
        return 5 <= many <= _CANDIDATES
    return 5 <= few <= _CANDIDATES <= many and many > 4 * few


def options_of(kind: str, outputs: Sequence[Seen], hints: Hints, said: list[str]) -> dict[str, Any]:
    """The options of the kind's answer."""
    if kind == "classification" and hints.last in ("Softmax", "Sigmoid"):
        return {"probabilities": True}
    if kind != "detection":
        return {}
    if len(outputs) > 1:
        return {"format": "boxes"}
    _, rows, columns = (-1, -1, *outputs[0].shape)[-3:]
    objectness = rows > columns
    said.append(
        f"answer format=yolo objectness={str(objectness).lower()}: {outputs[0]} is "
        f"{'a row' if objectness else 'a column'} a candidate (--answer)"
    )
    return {"format": "yolo", "objectness": objectness}
