"""Known delays at known places, on every n-th request, so that one run holds both kinds.

Nothing in the product knows of this: the delays are put around it, in copies of the model
repository and of the backends, in a proxy, and in a locustfile.
"""

import contextlib
import http.server
import json
import shutil
import socket
import socketserver
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipelines import paths, processes
from pipelines.servers import triton
from pipelines.topologies import choose
from pipelines.topologies.scenario import Setup

DELAY_NS = 20_000_000
PLACES = (None, "decode", "resize", "normalize", "inference")
"""Which place the request with number n delays: PLACES[n % len(PLACES)]."""

BEFORE = -1
"""A load asks once before it begins; what counts requests counts that one as none."""

_ON_TURN = """
import time
_turn = [{first}]


def _delay():
    end = time.monotonic_ns() + {delay_ns}
    time.sleep({delay_ns} / 1e9 - 0.002)
    while time.monotonic_ns() < end:
        pass
"""

_PREPROCESS = (
    _ON_TURN
    + """
from pipelines.tasks.tensors import ModelInput
from pipelines.preprocess.opencv import OpenCV
from pipelines.triton_models.network import Network
from pipelines.triton_models.{module} import TritonPythonModel


def _late(owner, step, turn):
    original = getattr(owner, step)

    def run(self, *arguments, **how):
        if step == "decode":
            _turn[0] += 1
        if (_turn[0] - 1) % {places} == turn:
            _delay()
        return original(self, *arguments, **how)

    setattr(owner, step, run)


steps = ((OpenCV, "decode"), (OpenCV, "resize"), (ModelInput, "normalize"), (Network, "_run"))
for number, (owner, step) in enumerate(steps, start=1):
    _late(owner, step, number)
"""
)

_INFERENCE = (
    _ON_TURN
    + """
_run = Network._run


def _late(self, tensors):
    _turn[0] += 1
    if (_turn[0] - 1) % {places} == {places} - 1:
        _delay()
    return _run(self, tensors)


Network._run = _late
"""
)

LATE_LOCUSTFILE = (
    "from bench.generator.users import VisionUser\n"
    + _ON_TURN
    + """

class LateUser(VisionUser):
    pass


def ask(user):
    _turn[0] += 1
    if _turn[0] % 2 == 0:
        _delay()
    VisionUser.ask(user)


VisionUser.abstract = True
LateUser.abstract = False
LateUser.tasks = [ask]
"""
)


def _filled(template: str, *, first: int, module: str = "") -> str:
    """The template, with the number of requests that were made when its own counting begins."""
    filled = template.replace("{module}", module)
    filled = filled.replace("{delay_ns}", str(DELAY_NS)).replace("{places}", str(len(PLACES)))
    return filled.replace("{first}", str(first))


def late_locustfile(folder: Path) -> Path:
    """Write a locustfile whose user is late for every second request."""
    path = folder / "late.py"
    path.write_text(_filled(LATE_LOCUSTFILE, first=0))
    return path


MODELS = {None: "preprocess_classification_opencv", "fused": "classification_fused_opencv"}
"""What delays, by the topology."""


def late_server(folder: Path, *, topology: str | None = None) -> triton.Server:
    """Start a server with one instance of each model that delays as PLACES says."""
    repository, backends = folder / "repository", folder / "backends"
    shutil.copytree(paths.REPOSITORY, repository)
    shutil.copytree(paths.BACKENDS, backends)
    file = repository / MODELS[topology] / "1" / "model.py"
    file.unlink()  # it may be a link
    file.write_text(_filled(_PREPROCESS, first=BEFORE, module=topology or "preprocess"))
    with (backends / "onnxruntime" / "model.py").open("a") as file:
        file.write(_filled(_INFERENCE, first=BEFORE))
    return triton.start(
        folder / "server",
        repository=repository,
        backends=backends,
        sizes=triton.Sizes(preprocess=1, inference=1),
        models=choose.models(Setup(topology=topology)),
    )


class LateProxy(socketserver.ThreadingTCPServer):
    """Forwards to a server; every second time that `mark` comes by, on the way there or, with
    `back`, on the way back, it is DELAY_NS late.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        *,
        mark: bytes = b"POST /v2/models/",
        back: bool = False,
        host: str = processes.HOST,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Forward)
        self.target, self.mark, self.back = port, mark, back
        self.turn = BEFORE
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens, host:port."""
        host, port, *_ = self.server_address
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"

    def hold(self, data: bytes) -> None:
        """Be late if it is time to."""
        if self.mark in data:
            self.turn += 1
            if self.turn % 2 == 0:
                _delay()


class Refusing(http.server.ThreadingHTTPServer):
    """Passes on to a server what it is asked over HTTP, but refuses paths with `what` in them."""

    daemon_threads = True

    def __init__(self, port: int, *, what: str, words: str) -> None:
        super().__init__((processes.HOST, 0), _Refusal)
        self.target, self.what, self.words = f"http://{processes.HOST}:{port}", what, words
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens, host:port."""
        return f"{processes.HOST}:{self.server_address[1]}"


class _Refusal(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Refusing)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        status, reply = 400, json.dumps({"error": server.words}).encode()
        if server.what not in self.path:
            with urllib.request.urlopen(server.target + self.path, body) as answer:
                status, reply = answer.status, answer.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        proxy = self.server
        assert isinstance(proxy, LateProxy)
        hold, pass_on = proxy.hold, _pass_on
        there, back = (pass_on, hold) if proxy.back else (hold, pass_on)
        with socket.create_connection((processes.HOST, proxy.target)) as upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pump = threading.Thread(target=_pump, args=(upstream, self.request, back), daemon=True)
            pump.start()
            _pump(self.request, upstream, there)


def _pass_on(_: bytes) -> None:
    """Do not delay."""


def _pump(source: socket.socket, target: socket.socket, hold: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):  # one side has hung up
        while data := source.recv(1 << 20):
            hold(data)
            target.sendall(data)


def _delay() -> None:
    end = time.monotonic_ns() + DELAY_NS
    time.sleep(DELAY_NS / 1e9 - 0.002)
    while time.monotonic_ns() < end:
        pass
