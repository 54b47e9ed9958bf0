"""Triton with tensors in system shared memory, and HTTP for the few bytes that say where.

Each user owns one region for its inputs and one for its outputs, registered on first use and
replaced by a larger one when a request needs it.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from typing import Any

import numpy as np
import tritonclient.utils.shared_memory as shm
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from pipelines import leftovers
from pipelines.engine import Exchange, Tensors, TensorSpec
from pipelines.errors import EngineError
from pipelines.triton_http import HttpEngine


class _Region:
    """A registered block of shared memory that grows when asked for more."""

    def __init__(self, http: HttpEngine, *, kind: str) -> None:
        self._http, self._kind = http, kind
        self._bytes = 0
        self.name = ""
        self.handle: Any = None

    def reserve(self, size_bytes: int) -> None:
        """Make sure that the region holds `size_bytes`."""
        if size_bytes <= self._bytes:
            return
        self.release()
        self._bytes = max(1 << 16, 2 * size_bytes)
        self.name = f"{leftovers.PREFIX}-{os.getpid()}-{uuid.uuid4().hex[:12]}-{self._kind}"
        try:
            self.handle = shm.create_shared_memory_region(
                self.name, self.name, self._bytes, create_only=True
            )
        except (OSError, shm.SharedMemoryException) as error:
            raise EngineError(
                f"cannot make {self._bytes} bytes of shared memory: {error}; is /dev/shm full?"
            ) from error
        self._http.control(
            f"/v2/systemsharedmemory/region/{self.name}/register",
            {"key": self.name, "offset": 0, "byte_size": self._bytes},
        )

    def release(self) -> None:
        """Give the memory back, also when the server is gone."""
        if self.handle is None:
            return
        with contextlib.suppress(EngineError):
            self._http.control(f"/v2/systemsharedmemory/region/{self.name}/unregister")
        with contextlib.suppress(OSError, shm.SharedMemoryException):
            shm.destroy_shared_memory_region(self.handle)
        self.handle, self._bytes = None, 0


class SharedMemoryEngine:
    """One user's regions, and its connection to Triton's HTTP endpoint at `url`."""

    def __init__(self, url: str) -> None:
        leftovers.sweep_shared_memory()
        self._http = HttpEngine(url)
        self._input = _Region(self._http, kind="input")
        self._output = _Region(self._http, kind="output")

    def infer(
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request; only the places of the tensors travel."""
        start = time.monotonic_ns()
        self._input.reserve(sum(tensor.nbytes for tensor in inputs.values()))
        self._output.reserve(sum(_bytes(spec) for spec in outputs))
        body, header_bytes = InferenceServerClient.generate_request_body(
            self._place(inputs), outputs=self._wanted(outputs), request_id=request_id
        )
        sent = time.monotonic_ns()
        reply, reply_header_bytes = self._http.post(model, body, header_bytes=header_bytes)
        received = time.monotonic_ns()
        result = InferenceServerClient.parse_response_body(reply, header_length=reply_header_bytes)
        tensors, offset = {}, 0
        for spec in outputs:
            shape = result.get_output(spec.name)["shape"]
            view = shm.get_contents_as_numpy(self._output.handle, spec.dtype, shape, offset)
            tensors[spec.name] = np.array(view)
            offset += _bytes(spec)
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def _place(self, inputs: Tensors) -> list[InferInput]:
        placed, offset = [], 0
        for name, tensor in inputs.items():
            shm.set_shared_memory_region(self._input.handle, [tensor], offset)
            described = InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.dtype))
            placed.append(described.set_shared_memory(self._input.name, tensor.nbytes, offset))
            offset += tensor.nbytes
        return placed

    def _wanted(self, outputs: list[TensorSpec]) -> list[InferRequestedOutput]:
        wanted, offset = [], 0
        for spec in outputs:
            described = InferRequestedOutput(spec.name, binary_data=True)
            described.set_shared_memory(self._output.name, _bytes(spec), offset)
            wanted.append(described)
            offset += _bytes(spec)
        return wanted

    def ready(self, model: str) -> bool:
        """Whether Triton answers and serves the model."""
        return self._http.ready(model)

    def close(self) -> None:
        """Unregister and free both regions and close the connection."""
        self._input.release()
        self._output.release()
        self._http.close()


def _bytes(spec: TensorSpec) -> int:
    return int(np.dtype(spec.dtype).itemsize * np.prod(spec.shape))
