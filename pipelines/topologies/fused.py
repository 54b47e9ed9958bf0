"""A chain behind one request to Triton: the crops never leave the server."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from pipelines.engines.engine import Engine
from pipelines.spans import Span
from pipelines.tasks import Chain, Readings
from pipelines.tasks.tensors import TensorSpec
from pipelines.topologies.outcome import TRAIL, Outcome

_OUTPUTS = [TensorSpec("readings", np.uint8, (1 << 18,)), TRAIL]


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """Readings as they leave the server: regions of that shape, FP32, and the answers."""

    shape: tuple[int, int]
    regions: bytes
    answers: list[bytes]


_NOTHING = Packed((0, 0), b"", [])
_packed = msgspec.msgpack.Decoder(Packed)


class Fused:
    """The topology `fused`: asks the model `<chain>_<way>`."""

    def __init__(self, engine: Engine, chain: Chain, *, way: str) -> None:
        self._engine, self._chain = engine, chain
        self._model = f"{chain.name}_{way}"

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the Readings of an image's regions."""
        outcome = Outcome(None)
        inputs = {"jpeg": np.frombuffer(image, np.uint8)}
        exchange = self._engine.infer(self._model, inputs, outputs=_OUTPUTS, request_id=request_id)
        outcome.add(exchange, id=request_id, where="client")
        data = exchange.outputs["readings"]
        packed = _packed.decode(data.data) if data.any() else _NOTHING  # the fake engine says zeros
        regions = np.frombuffer(packed.regions, np.float32).reshape(packed.shape)
        outcome.answer = Readings(self._chain, regions, packed.answers)
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, "client"))
        return outcome

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
