"""What a pipeline gives back for one image: the answer, and the timestamps it took on the way."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.engines.engine import Exchange
from pipelines.spans import Call, Span, Trail
from pipelines.tasks.tensors import TensorSpec

TRAIL = TensorSpec("trail", np.uint8, (1 << 16,))
"""The output in which a Python model of ours sends its Trail along, packed, at most this long."""

ANSWER = TensorSpec("answer", np.uint8, (1 << 22,))
"""The output in which a fused model sends an encoded answer, at most this long."""

_trails = msgspec.msgpack.Decoder(Trail)


def pack(item: Any) -> npt.NDArray[np.uint8]:
    """Return a struct packed into a tensor, one that can be written, as DLPack demands."""
    return np.frombuffer(bytearray(msgspec.msgpack.encode(item)), np.uint8)


@dataclass
class Outcome:
    """One answered request. `trails` are packed; they become spans when the request is over."""

    answer: Any
    bytes_in: int = 0
    bytes_out: int = 0
    spans: list[Span] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    trails: list[npt.NDArray[np.uint8]] = field(default_factory=list)

    def add(self, exchange: Exchange, *, id: str, where: str, items: int = 1) -> None:
        """Count an exchange with Triton that `where` had under the id, about `items` images."""
        self.calls.append(Call(id, exchange.sent_ns, exchange.received_ns, items))
        self.spans += exchange.spans
        self.spans.append(Span("encode", exchange.start_ns, exchange.sent_ns, where, items))
        self.spans.append(Span("parse", exchange.received_ns, exchange.end_ns, where, items))
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        trail = exchange.outputs.get("trail")
        if trail is not None:
            self.trails.append(trail.reshape(-1))

    def trail(self) -> Trail:
        """Return all spans and calls, those of the packed trails included; one that begins with 0
        is empty.
        """
        unpacked = [_trails.decode(trail.data) for trail in self.trails if trail[:1].any()]
        return Trail(
            self.spans + [span for trail in unpacked for span in trail.spans],
            self.calls + [call for trail in unpacked for call in trail.calls],
        )


class Pipeline(Protocol):
    """A task or chain from image to answer, as one user runs it."""

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the outcome for a JPEG. Raises VisiontaxError when the request fails."""

    def close(self) -> None:
        """Give back what the pipeline holds."""
