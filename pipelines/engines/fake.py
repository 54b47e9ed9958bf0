"""The engine without a server."""

from __future__ import annotations

import time

import numpy as np

from pipelines.engines.engine import Exchange
from pipelines.spans import Span
from pipelines.tasks.tensors import Tensors, TensorSpec

SERVICE_S = 0.005


class FakeEngine:
    """Answers zeros after `service_s` seconds: a smoke test, and the calibration of the generator.

    It builds no request and crosses no wire, so what it measures is the load generator alone.
    """

    def __init__(self, service_s: float = SERVICE_S) -> None:
        self._service_s = service_s

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Sleep for the service time and return zeros."""
        del request_id
        start = time.monotonic_ns()
        time.sleep(self._service_s)
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

    def close(self) -> None:
        """Do nothing."""
