"""What answers an inference request: Triton by one of its transports, or the fake.

An engine belongs to one user and has one request in flight. It takes timestamps and nothing else
while the request is under way. The fake is here too.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipelines.spans import Span
from pipelines.tasks.tensors import Tensors, TensorSpec

Parameters = Mapping[str, str]
"""What a request says to the model besides its tensors."""


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
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Run one request. Raises EngineError with the server's own words when it fails.

        Triton hands the `parameters` of a request to an ensemble to its parts too.
        """

    def close(self) -> None:
        """Give connections and memory back, where there are some."""
        return


SERVICE_S = 0.005

SERVICE_TIMES: dict[str, Callable[[float], float]] = {
    "constant": lambda mean_s: mean_s,
    "exponential": lambda mean_s: mean_s * random.expovariate(1.0),
}
"""How the fake engine's times are spread about their mean: each gives the next one."""


class FakeEngine(Engine):
    """Answers zeros after `service_s` seconds, in the mean: a smoke test, and the check of the
    generator. Raises KeyError of unknown `times`.

    It builds no request and crosses no wire, so what it measures is the load generator alone.
    """

    def __init__(self, service_s: float = SERVICE_S, *, times: str = "constant") -> None:
        self._service_s, self._next = service_s, SERVICE_TIMES[times]

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        del request_id, parameters
        start = time.monotonic_ns()
        time.sleep(self._next(self._service_s))
        end = time.monotonic_ns()
        return Exchange(
            outputs={spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs},
            start_ns=start,
            sent_ns=start,
            received_ns=end,
            end_ns=end,
            bytes_in=sum(tensor.nbytes for tensor in inputs.values()),
            bytes_out=0,
            spans=[Span("inference", start, end, model)],
        )
