"""A plain HTTP server, JPEG in and logits out: a yardstick for what Triton serves."""

from __future__ import annotations

import time

import numpy as np

from pipelines.engines.connection import Connection
from pipelines.engines.engine import Exchange
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec


class PlainEngine:
    """One user's connection to the server of `servers.fastapi_app` at `url` (host:port)."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, to="the plain server")

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """POST the JPEG; outputs that the server does not have are zeros."""
        del model, request_id
        start = time.monotonic_ns()
        (tensor,) = inputs.values()
        body = tensor.tobytes()
        sent = time.monotonic_ns()
        response, reply = self._connection.post("/classify", body)
        received = time.monotonic_ns()
        if response.status_code != 200:
            raise EngineError(f"the plain server answered HTTP {response.status_code}")
        tensors = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs}
        tensors["logits"] = np.frombuffer(reply, np.float32)[None]
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
