"""The pipelines that ask an engine themselves: a task, inference or preprocessing alone, and the
topologies `direct` and `fused` of a chain.
"""

import time
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines import tasks
from pipelines.engines.engine import Engine
from pipelines.spans import Span
from pipelines.tasks.tensors import TYPES, TensorSpec
from pipelines.topologies.outcome import TRAIL, Outcome
from pipelines.topologies.scenario import Setup
from pipelines.topologies.steps import FirstOfChain, FirstStage, SecondStage

_FUSED = [TensorSpec("readings", np.uint8, (1 << 18,)), TRAIL]


class Asking:
    """A pipeline that asks an engine, which goes with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class Single(Asking):
    """A task as one user runs it."""

    def __init__(self, engine: Engine, setup: Setup) -> None:
        super().__init__(engine)
        self._ask = FirstStage(engine, setup, where="client")

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the task's answer about an image."""
        outcome = Outcome(None)
        outcome.answer, _ = self._ask(image, request_id=request_id, outcome=outcome)
        return outcome


class Ready(Asking):
    """A task's DNN as one user asks it; its input is noise, as normalized pixels."""

    def __init__(self, engine: Engine, setup: Setup) -> None:
        super().__init__(engine)
        dnn = setup.task.dnn
        noise = np.random.default_rng(1)
        shape = (1, *dnn.input.shape)
        if dnn.input.type == "uint8":
            tensor: npt.NDArray[Any] = noise.integers(0, 256, shape, np.uint8)
        else:
            tensor = noise.standard_normal(shape, np.float32).astype(TYPES[dnn.input.type])
        self._inputs, self._model, self._outputs = dnn.feed(tensor), dnn.model, dnn.asked(1)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Ask the DNN, whatever the image; there is no answer but the exchange."""
        del image
        outcome = Outcome(None)
        exchange = self._engine.infer(
            self._model, self._inputs, outputs=self._outputs, request_id=request_id
        )
        outcome.add(exchange, id=request_id, where="client")
        return outcome


class Preprocessing(Asking):
    """A task's preprocessing as one user asks for it, of the server or of this process."""

    def __init__(self, engine: Engine, setup: Setup) -> None:
        super().__init__(engine)
        self._ask = FirstStage(engine, setup, where="client").preprocess

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Have the image preprocessed; there is no answer."""
        outcome = Outcome(None)
        self._ask(image, request_id=request_id, outcome=outcome)
        return outcome


class Direct(Asking):
    """A chain whose caller asks both DNNs itself. `where` names this process in the spans."""

    def __init__(self, engine: Engine, setup: Setup, *, where: str = "client") -> None:
        super().__init__(engine)
        self._chain = tasks.chain(setup.pipeline)
        self._first = FirstOfChain(engine, setup, where=where)
        self._second = SecondStage(engine, self._chain, where=where)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the Readings of an image's regions."""
        outcome = Outcome(None)
        regions, crops = self._first(image, request_id=request_id, outcome=outcome)
        answers = self._second(crops, request_id=request_id, outcome=outcome)
        outcome.answer = tasks.Readings(self._chain, regions, answers)
        return outcome


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """Readings as they leave the server: regions of that shape, FP32, and the answers."""

    shape: tuple[int, int]
    regions: bytes
    answers: list[bytes]


_NOTHING = Packed((0, 0), b"", [])
_packed = msgspec.msgpack.Decoder(Packed)


class Fused(Asking):
    """A chain in one request, to the model `<chain>_<preprocess>`: crops stay in the server."""

    def __init__(self, engine: Engine, setup: Setup) -> None:
        super().__init__(engine)
        self._chain = tasks.chain(setup.pipeline)
        self._model = f"{setup.pipeline}_{setup.preprocess}"

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the Readings of an image's regions."""
        outcome = Outcome(None)
        inputs = {"jpeg": np.frombuffer(image, np.uint8)}
        exchange = self._engine.infer(self._model, inputs, outputs=_FUSED, request_id=request_id)
        outcome.add(exchange, id=request_id, where="client")
        data = exchange.outputs["readings"]
        packed = _packed.decode(data.data) if data.any() else _NOTHING  # the fake engine says zeros
        regions = np.frombuffer(packed.regions, np.float32).reshape(packed.shape)
        outcome.answer = tasks.Readings(self._chain, regions, packed.answers)
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, "client"))
        return outcome
