"""What answers an inference request: Triton by one of its transports, or the fake.

An engine belongs to one user and has one request in flight. It takes timestamps and nothing else
while the request is under way.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.errors import VisiontaxError
from pipelines.spans import Span

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor an engine must return: its name, NumPy type and largest shape.

    To an engine the batch dimension is part of the shape; a DNN's own outputs are stated without.
    """

    name: str
    dtype: type[Any]
    shape: tuple[int, ...]


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
        self, model: str, inputs: Tensors, *, outputs: list[TensorSpec], request_id: str
    ) -> Exchange:
        """Run one request. Raises EngineError with the server's own words when it fails."""

    def ready(self, model: str) -> bool:
        """Whether the server is up and serves the model."""

    def close(self) -> None:
        """Give connections and memory back."""


class FakeEngine:
    """Answers zeros after `service_s` seconds: a smoke test, and the calibration of the generator.

    It builds no request and crosses no wire, so what it measures is the load generator alone. The
    service time stands where others have an address: `5ms`, the default, or `0ms`.
    """

    def __init__(self, url: str) -> None:
        self._service_s = float((url or "5ms").removesuffix("ms")) / 1e3

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

    def ready(self, model: str) -> bool:
        """Return True: there is nothing to wait for."""
        del model
        return True

    def close(self) -> None:
        """Do nothing."""


TRANSPORTS = {
    "http": "pipelines.triton_http:HttpEngine",
    "grpc": "pipelines.triton_grpc:GrpcEngine",
    "shm": "pipelines.system_shm:engine",
    "cuda-shm": "pipelines.cuda_shm:engine",
    "fake": "pipelines.engine:FakeEngine",
    "plain": "pipelines.plain_http:PlainEngine",
}
"""Where each transport's engine is; only the one that is used is imported."""


def endpoint(transport: str, server: str, *, grpc_port: int = 0) -> str:
    """Return the address that the transport talks to; `server` is host:port of Triton's HTTP.

    gRPC listens on the next port unless `grpc_port` says another. Raises VisiontaxError when the
    address has no port.
    """
    if transport != "grpc":
        return server
    host, _, port = server.rpartition(":")
    if not port.isdigit():
        raise VisiontaxError(
            f"the server's address has no port: {server}", hint="write it as host:port"
        )
    return f"{host}:{grpc_port or int(port) + 1}"


def check_gpu(transport: str) -> None:
    """Raise EngineError when the transport needs a GPU that this process cannot use."""
    if transport == "cuda-shm":
        from pipelines import cuda_shm

        cuda_shm.check()


def engine(transport: str, url: str) -> Engine:
    """Return a new engine; `url` is host:port of the transport's own endpoint.

    Raises VisiontaxError listing the known transports when it is none of them, and as `check_gpu`
    does.
    """
    if transport not in TRANSPORTS:
        raise VisiontaxError(
            f"unknown transport: {transport}", hint=f"known transports: {', '.join(TRANSPORTS)}"
        )
    check_gpu(transport)
    module, name = TRANSPORTS[transport].split(":")
    made: Engine = getattr(importlib.import_module(module), name)(url)
    return made
