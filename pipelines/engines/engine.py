"""What answers an inference request: Triton by one of its transports, or the fake.

An engine belongs to one user and has one request in flight. It takes timestamps and nothing else
while the request is under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pipelines.spans import Span
from pipelines.tasks.tensors import Tensors, TensorSpec


@dataclass(frozen=True)
class Exchange:
    """One completed inference request: its results and its four timestamps.

    The request was built in `start_ns`..`sent_ns`, was with the server (and the wire) until
    `received_ns`, and was unpacked by `end_ns`. `spans` are those that the engine itself knows.
    """

    outputs: Tensors
    start_ns: int
    sent_ns: int
    received_ns: int
    end_ns: int
    bytes_in: int
    bytes_out: int
    spans: list[Span] = field(default_factory=list)


class Engine(Protocol):
    """An inference server as seen by one user."""

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request. Raises EngineError with the server's own words when it fails."""

    def close(self) -> None:
        """Give connections and memory back."""
