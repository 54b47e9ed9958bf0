"""What a pipeline gives back for one image: the answer, and the timestamps it took on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.spans import Span

MARKS = 7
"""How many marks a Python preprocessing model sends along: see `spans_of_marks`."""


@dataclass
class Outcome:
    """One answered request.

    `sent_ns` and `received_ns` bound the exchange with the server. `marks` are the preprocessing
    model's own timestamps, by the model's name; they become spans only when the request is over.
    """

    answer: Any
    sent_ns: int
    received_ns: int
    bytes_in: int
    bytes_out: int
    spans: list[Span] = field(default_factory=list)
    marks: dict[str, Sequence[int]] = field(default_factory=dict)

    def all_spans(self) -> list[Span]:
        """Return the spans, those of the marks included."""
        return [
            *self.spans,
            *(span for where, marks in self.marks.items() for span in spans_of_marks(where, marks)),
        ]


class Pipeline(Protocol):
    """A task from image to answer, as one user runs it."""

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the outcome for a JPEG. Raises VisiontaxError when the request fails."""

    def close(self) -> None:
        """Give back what the pipeline holds."""


def spans_of_marks(where: str, marks: Sequence[int]) -> list[Span]:
    """Return the spans between the MARKS timestamps of a Python preprocessing model.

    The marks, in ns: the model was called with a batch; it turned to this request; decode began;
    decode, resize and normalize ended; the batch was done. Waiting for the others of the batch is
    `queue`, fetching the bytes is `input`.
    """
    names = ("queue", "input", "decode", "resize", "normalize", "queue")
    return [
        Span(name, int(start), int(end), where)
        for name, start, end in zip(names, marks, marks[1:], strict=False)
    ]
