"""A plain HTTP server, JPEG in and logits out: a yardstick for what Triton serves."""

from __future__ import annotations

import time

import numpy as np
from geventhttpclient import HTTPClient

from pipelines.engine import EngineError, Exchange, Tensors, TensorSpec
from pipelines.triton_http import TIMEOUT_S


class PlainEngine:
    """One user's connection to the server of `bench.plain_app` at `url` (host:port)."""

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition(":")
        self._client = HTTPClient(
            host, int(port), connection_timeout=10.0, network_timeout=TIMEOUT_S, disable_ipv6=True
        )

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """POST the JPEG; outputs that the server does not have are zeros."""
        del model, request_id
        start = time.monotonic_ns()
        (tensor,) = inputs.values()
        body = tensor.tobytes()
        sent = time.monotonic_ns()
        try:
            response = self._client.post("/classify", body=body)
            reply = bytes(response.read())
        except (OSError, ValueError) as error:
            raise EngineError(f"no answer from the plain server: {error}") from error
        received = time.monotonic_ns()
        if response.status_code != 200:
            raise EngineError(f"the plain server answered HTTP {response.status_code}")
        tensors = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs}
        tensors["logits"] = np.frombuffer(reply, np.float32)[None]
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def ready(self, model: str) -> bool:
        """Whether the server answers."""
        del model
        try:
            response = self._client.get("/v2/health/ready")
            response.read()
        except (OSError, ValueError):
            return False
        return bool(response.status_code == 200)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
