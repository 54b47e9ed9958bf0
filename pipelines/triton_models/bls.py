"""Triton asked from inside: the engine of a Python model that calls other models of its server."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from pipelines.engines.engine import Exchange
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec
from pipelines.triton_models.dlpack import from_triton, to_triton


class BlsEngine:
    """Business logic scripting as an Engine. `trace` is that of the request being answered."""

    def __init__(self) -> None:
        self.trace: Any = None

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request; tensors stay in the server's shared memory."""
        start = time.monotonic_ns()
        request = pb.InferenceRequest(
            model_name=model,
            request_id=request_id,
            inputs=[to_triton(pb, name, tensor) for name, tensor in inputs.items()],
            requested_output_names=[spec.name for spec in outputs],
            trace=self.trace,
            preferred_memory=pb.PreferredMemory(pb.TRITONSERVER_MEMORY_CPU),
        )
        sent = time.monotonic_ns()
        response = request.exec()
        received = time.monotonic_ns()
        if response.has_error():
            raise EngineError(response.error().message())
        named = {tensor.name(): tensor for tensor in response.output_tensors()}
        tensors = {spec.name: np.array(from_triton(named[spec.name])) for spec in outputs}
        end = time.monotonic_ns()
        bytes_in = sum(tensor.nbytes for tensor in inputs.values())
        bytes_out = sum(tensor.nbytes for tensor in tensors.values())
        return Exchange(tensors, start, sent, received, end, bytes_in, bytes_out)

    def close(self) -> None:
        """Do nothing: the server holds everything."""
