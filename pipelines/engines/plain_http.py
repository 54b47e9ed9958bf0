"""Plain HTTP: the kept-alive connection of one user, and the yardstick for what Triton serves, a
server that takes a JPEG and gives logits.
"""

import time
from http.client import HTTPException
from typing import Any

import numpy as np
from geventhttpclient import HTTPClient

from pipelines.engines.engine import Engine, Exchange
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec

TIMEOUT_S = 120.0

_NO_ANSWER = (OSError, ValueError, HTTPException)
"""What the client raises where the server is away, hangs up in mid-answer, or talks no HTTP."""


class Connection:
    """A connection to `url` (host:port); `to` names the server in errors."""

    def __init__(self, url: str, *, to: str) -> None:
        host, _, port = url.rpartition(":")
        self._name = f"{to} at {url}"
        self._client = HTTPClient(
            host,
            int(port),
            connection_timeout=10.0,
            network_timeout=TIMEOUT_S,
            block_size=65536,
            disable_ipv6=True,
        )

    def post(
        self, path: str, body: bytes, *, headers: dict[str, Any] | None = None
    ) -> tuple[Any, bytes]:
        """Return the response and its body. Raises EngineError when none comes."""
        try:
            response = self._client.post(path, body=body, headers=headers or {})
            return response, bytes(response.read())
        except _NO_ANSWER as error:
            raise EngineError(f"no answer from {self._name}: {error}") from error

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class PlainEngine(Engine):
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
