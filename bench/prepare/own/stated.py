"""What a model states of itself, as it is."""

from typing import NamedTuple


class Seen(NamedTuple):
    """A tensor as the model states it, the batch included; a size that it leaves open is -1.

    `type` is one of TYPES, or "bytes".
    """

    name: str
    type: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As messages have it."""
        sides = "x".join("?" if side < 0 else str(side) for side in self.shape)
        return f"{self.name} ({self.type} {sides or 'of one number'})"


class Hints(NamedTuple):
    """What a model's graph tells beyond its tensors: that it normalizes pixels itself, and what the
    first output was last made by, an operator of ONNX.
    """

    normalizes: bool = False
    last: str = ""
