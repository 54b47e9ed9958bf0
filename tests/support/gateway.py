"""What stands before a server elsewhere: TLS, a path prefix, and a token that is asked for."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from pipelines import processes

TOKEN = "Bearer s3cret-and-n0where-else"
PREFIX = "/team/triton"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that nobody knows, and its key."""
    made, key = folder / "server.pem", folder / "key.pem"
    command = ("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=gateway")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    files = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made))
    subprocess.run((*command, *kind, *files), check=True, capture_output=True)
    return made, key


class Gateway(http.server.ThreadingHTTPServer):
    """Passes on over plain HTTP what comes with the TOKEN, over TLS and under the PREFIX."""

    daemon_threads = True

    def __init__(self, port: int, *, certificate: tuple[Path, Path]) -> None:
        super().__init__((processes.HOST, 0), _Request)
        self.target = f"http://{processes.HOST}:{port}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where Triton is to be found."""
        return f"https://{processes.HOST}:{self.server_address[1]}{PREFIX}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of those who do not trust us."""


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Gateway)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, reply, headers = 404, b"{}", {}
        if self.headers.get("Authorization") != TOKEN:
            status = 401
        elif self.path.startswith(PREFIX + "/"):
            request = urllib.request.Request(
                server.target + self.path.removeprefix(PREFIX), body or None, dict(self.headers)
            )
            try:
                with urllib.request.urlopen(request) as answer:
                    status, reply, headers = answer.status, answer.read(), dict(answer.headers)
            except urllib.error.HTTPError as error:
                status, reply = error.code, error.read()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(reply))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Redirecting(http.server.ThreadingHTTPServer):
    """Sends everyone elsewhere."""

    daemon_threads = True

    def __init__(self, location: str) -> None:
        super().__init__((processes.HOST, 0), _Elsewhere)
        self.location = location
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Redirecting)
        self.send_response(302)
        self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def grpc_gateway(port: int, *, certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port of one that passes on, over plain gRPC, what comes with the TOKEN over TLS."""
    made, key = (path.read_bytes() for path in certificate)
    with (
        grpc.insecure_channel(f"{processes.HOST}:{port}") as channel,
        ThreadPoolExecutor() as pool,
    ):
        server = grpc.server(pool, handlers=[_PassOn(channel)])
        credentials = grpc.ssl_server_credentials([(key, made)])
        secure_port = server.add_secure_port(f"{processes.HOST}:0", credentials)
        server.start()
        yield secure_port
        server.stop(None).wait()


class _PassOn(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        ask = self._channel.unary_unary(call.method)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if ("authorization", TOKEN) not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            return bytes(ask(request))

        return grpc.unary_unary_rpc_method_handler(answer)
