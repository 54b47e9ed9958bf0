"""Every transport, by name, and where it finds its server."""

import pkgutil

from pipelines.engines.address import address_of
from pipelines.engines.engine import SERVICE_S, Engine, FakeEngine

TRANSPORTS = {
    "http": "pipelines.engines.triton_http:HttpEngine",
    "grpc": "pipelines.engines.triton_grpc:GrpcEngine",
    "shm": "pipelines.engines.triton_shm:engine",
    "cuda-shm": "pipelines.engines.cuda_shm:engine",
    "fake": "",
    "plain": "pipelines.engines.plain_http:PlainEngine",
}
"""Where each transport's engine is; only the one that is used is imported. The fake is here."""


def endpoint(transport: str, server: str, *, grpc_port: int = 0) -> str:
    """Return the address that the transport talks to; `server` is that of Triton's HTTP.

    gRPC listens on the next port unless `grpc_port` says another, and has no prefix. Raises
    VisiontaxError when the address cannot be read.
    """
    if transport != "grpc":
        return server
    at = address_of(server)
    return str(at._replace(port=grpc_port or at.port + 1, path=""))


def check_gpu(transport: str) -> None:
    """Raise EngineError when the transport needs a GPU that this process cannot use."""
    if transport == "cuda-shm":
        from pipelines.engines import cuda_shm

        cuda_shm.check()


def engine(transport: str, url: str, *, service_s: float = SERVICE_S) -> Engine:
    """Return a new engine; `url` is the address of the transport's own endpoint.

    The fake one needs none, and takes `service_s`. Raises EngineError as `check_gpu` does.
    """
    if transport == "fake":
        return FakeEngine(service_s)
    check_gpu(transport)
    made: Engine = pkgutil.resolve_name(TRANSPORTS[transport])(url)
    return made
