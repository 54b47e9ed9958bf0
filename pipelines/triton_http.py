"""Triton over HTTP with the binary tensor extension, on one kept-alive connection."""

from __future__ import annotations

import json
import time
from typing import Any

from geventhttpclient import HTTPClient
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from pipelines.engine import EngineError, Exchange, Tensors, TensorSpec

TIMEOUT_S = 120.0


class HttpEngine:
    """One user's connection to Triton's HTTP endpoint at `url` (host:port)."""

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition(":")
        self._url = url
        self._client = HTTPClient(
            host,
            int(port),
            connection_timeout=10.0,
            network_timeout=TIMEOUT_S,
            block_size=65536,
            disable_ipv6=True,
        )

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request; tensors travel as binary in both bodies."""
        start = time.monotonic_ns()
        wanted = [InferRequestedOutput(spec.name, binary_data=True) for spec in outputs]
        body, header_bytes = InferenceServerClient.generate_request_body(
            [http_input(name, tensor) for name, tensor in inputs.items()],
            outputs=wanted,
            request_id=request_id,
        )
        sent = time.monotonic_ns()
        reply, reply_header_bytes = self.post(model, body, header_bytes=header_bytes)
        received = time.monotonic_ns()
        result = InferenceServerClient.parse_response_body(reply, header_length=reply_header_bytes)
        tensors = {spec.name: result.as_numpy(spec.name) for spec in outputs}
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def post(
        self, model: str, body: bytes, *, header_bytes: int | None
    ) -> tuple[bytes, int | None]:
        """Return the reply's body and the length of its JSON header."""
        headers = {} if header_bytes is None else {"Inference-Header-Content-Length": header_bytes}
        try:
            response = self._client.post(f"/v2/models/{model}/infer", body=body, headers=headers)
            reply = bytes(response.read())
        except (OSError, ValueError) as error:
            raise EngineError(f"no answer from Triton at {self._url}: {error}") from error
        if response.status_code != 200:
            raise EngineError(_server_words(reply, status=response.status_code))
        length = response.get("Inference-Header-Content-Length")
        return reply, None if length is None else int(length)

    def control(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """POST to a control endpoint and return its reply."""
        try:
            response = self._client.post(path, body=json.dumps(body or {}).encode())
            reply = bytes(response.read())
        except (OSError, ValueError) as error:
            raise EngineError(f"no answer from Triton at {self._url}: {error}") from error
        if response.status_code != 200:
            raise EngineError(_server_words(reply, status=response.status_code))
        return reply

    def ready(self, model: str) -> bool:
        """Whether Triton answers and serves the model."""
        try:
            response = self._client.get(f"/v2/models/{model}/ready")
            response.read()
        except (OSError, ValueError):
            return False
        return bool(response.status_code == 200)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def http_input(name: str, tensor: Any) -> InferInput:
    """Return the tensor as a binary HTTP input."""
    described = InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.dtype))
    try:
        return described.set_data_from_numpy(tensor, binary_data=True)
    except InferenceServerException as error:
        raise EngineError(str(error)) from error


def _server_words(reply: bytes, *, status: int) -> str:
    try:
        return str(json.loads(reply)["error"])
    except (ValueError, KeyError, TypeError):
        return f"Triton answered HTTP {status}"
