"""Every transport, by name, and where it finds its server."""

import pkgutil

from pipelines.engines.engine import SERVICE_S, Engine, FakeEngine
from pipelines.errors import VisiontaxError

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
        from pipelines.engines import cuda_shm

        cuda_shm.check()


def engine(transport: str, url: str, *, service_s: float = SERVICE_S) -> Engine:
    """Return a new engine; `url` is host:port of the transport's own endpoint.

    The fake one needs none, and takes `service_s`. Raises EngineError as `check_gpu` does.
    """
    if transport == "fake":
        return FakeEngine(service_s)
    check_gpu(transport)
    made: Engine = pkgutil.resolve_name(TRANSPORTS[transport])(url)
    return made
