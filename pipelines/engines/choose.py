"""Every transport, by name, and where it finds its server."""

import pkgutil

from pipelines.engines.address import address_of
from pipelines.engines.engine import SERVICE_S, Engine, FakeEngine

TRANSPORTS = {
    "http": "pipelines.engines.triton_http:HttpEngine",
    "json": "pipelines.engines.triton_http:JsonEngine",
    "grpc": "pipelines.engines.triton_grpc:GrpcEngine",
    "shm": "pipelines.engines.triton_shm:engine",
    "cuda-shm": "pipelines.engines.cuda_shm:engine",
    "fake": "",
    "local": "pipelines.engines.local:LocalEngine",
    "plain": "pipelines.engines.plain_http:PlainEngine",
}
"""Where each transport's engine is; only the one that is used is imported. The fake is here."""


SERVERLESS = ("fake", "local")
"""Those that ask no server: the process answers itself."""


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


def engine(
    transport: str,
    url: str,
    *,
    service_s: float = SERVICE_S,
    service_times: str = "constant",
    server: str = "",
) -> Engine:
    """Return a new engine; `url` is the address of the transport's own endpoint.

    The fake one needs none, and takes `service_s`, as `service_times` says. `server` is what errors
    call one that is no Triton and is asked by `http`. Raises EngineError as `check_gpu` does.
    """
    if transport == "fake":
        return FakeEngine(service_s, times=service_times)
    check_gpu(transport)
    named = {"server": server} if server else {}
    made: Engine = pkgutil.resolve_name(TRANSPORTS[transport])(url, **named)
    return made
