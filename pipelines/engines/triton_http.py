"""Triton over HTTP on one kept-alive connection: with the binary tensor extension, or, as servers
without that want it, with tensors as JSON.
"""

import json
import time
from typing import Any, ClassVar

from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import np_to_triton_dtype

from pipelines.engines.engine import Engine, Exchange, Parameters
from pipelines.engines.plain_http import REQUEST_ID, Connection
from pipelines.tasks.tensors import Tensors, TensorSpec

_HEADER_BYTES = "Inference-Header-Content-Length"


class HttpEngine(Connection, Engine):
    """One user's connection to Triton's HTTP endpoint."""

    server = "Triton"
    binary: ClassVar[bool] = True

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Run one request; tensors travel in the same way in both bodies."""
        start = time.monotonic_ns()
        given, wanted = self._describe(inputs, outputs)
        body, length = InferenceServerClient.generate_request_body(
            given, outputs=wanted, request_id=request_id, parameters=parameters
        )
        headers = {REQUEST_ID: request_id}
        if length is not None:
            headers[_HEADER_BYTES] = length
        sent = time.monotonic_ns()
        response, reply = self.post(f"/v2/models/{model}/infer", body, headers=headers)
        received = time.monotonic_ns()
        length = response.get(_HEADER_BYTES)
        result = InferenceServerClient.parse_response_body(
            reply, header_length=None if length is None else int(length)
        )
        tensors = self._read(result, outputs)
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def _describe(
        self, inputs: Tensors, outputs: list[TensorSpec]
    ) -> tuple[list[InferInput], list[InferRequestedOutput]]:
        """Return the inputs, and where the outputs go, in the client library's own types."""
        given = [
            input_of(name, tensor).set_data_from_numpy(tensor, binary_data=self.binary)
            for name, tensor in inputs.items()
        ]
        return given, [InferRequestedOutput(spec.name, binary_data=self.binary) for spec in outputs]

    def _read(self, result: InferResult, outputs: list[TensorSpec]) -> Tensors:
        """Return the outputs that came back."""
        return {spec.name: result.as_numpy(spec.name) for spec in outputs}

    def control(self, path: str, body: dict[str, Any] | None = None) -> None:
        """POST to a control endpoint. Raises EngineError when Triton refuses."""
        self.post(path, json.dumps(body or {}).encode())


class JsonEngine(HttpEngine):
    """One user's connection to any server of the Open Inference Protocol: tensors are text."""

    binary = False


def input_of(name: str, tensor: Any) -> InferInput:
    """Return the description of the tensor, without its data."""
    return InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.dtype))
