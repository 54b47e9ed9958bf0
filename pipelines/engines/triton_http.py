"""Triton over HTTP with the binary tensor extension, on one kept-alive connection."""

from __future__ import annotations

import json
import time
from typing import Any

from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from pipelines.engines.connection import Connection
from pipelines.engines.engine import Exchange
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec

_HEADER_BYTES = "Inference-Header-Content-Length"


class HttpEngine:
    """One user's connection to Triton's HTTP endpoint at `url` (host:port)."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, to="Triton")

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request; tensors travel as binary in both bodies."""
        start = time.monotonic_ns()
        given, wanted = self._describe(inputs, outputs)
        body, header_bytes = InferenceServerClient.generate_request_body(
            given, outputs=wanted, request_id=request_id
        )
        sent = time.monotonic_ns()
        reply, reply_header_bytes = self._post(model, body, header_bytes=header_bytes)
        received = time.monotonic_ns()
        result = InferenceServerClient.parse_response_body(reply, header_length=reply_header_bytes)
        tensors = self._read(result, outputs)
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def _describe(
        self, inputs: Tensors, outputs: list[TensorSpec]
    ) -> tuple[list[InferInput], list[InferRequestedOutput]]:
        """Return the inputs, and where the outputs go, in the client library's own types."""
        given = [http_input(name, tensor) for name, tensor in inputs.items()]
        return given, [InferRequestedOutput(spec.name, binary_data=True) for spec in outputs]

    def _read(self, result: InferResult, outputs: list[TensorSpec]) -> Tensors:
        """Return the outputs that came back."""
        return {spec.name: result.as_numpy(spec.name) for spec in outputs}

    def _post(
        self, model: str, body: bytes, *, header_bytes: int | None
    ) -> tuple[bytes, int | None]:
        """Return the reply's body and the length of its JSON header."""
        headers = {} if header_bytes is None else {_HEADER_BYTES: header_bytes}
        response, reply = self._connection.post(f"/v2/models/{model}/infer", body, headers=headers)
        _check(response, reply)
        length = response.get(_HEADER_BYTES)
        return reply, None if length is None else int(length)

    def control(self, path: str, body: dict[str, Any] | None = None) -> None:
        """POST to a control endpoint. Raises EngineError when Triton refuses."""
        _check(*self._connection.post(path, json.dumps(body or {}).encode()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def http_input(name: str, tensor: Any) -> InferInput:
    """Return the tensor as a binary HTTP input."""
    described = InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.dtype))
    try:
        return described.set_data_from_numpy(tensor, binary_data=True)
    except InferenceServerException as error:
        raise EngineError(str(error)) from error


def _check(response: Any, reply: bytes) -> None:
    """Raise EngineError in Triton's own words unless it answered 200."""
    status = response.status_code
    if status == 200:
        return
    try:
        words = str(json.loads(reply)["error"])
    except (ValueError, KeyError, TypeError):
        words = f"Triton answered HTTP {status}"
    raise EngineError(words)
