"""The embedded Triton: NVIDIA's own server binary from a PyPI wheel, started as a child process.

It serves the same `triton_repo/` as NVIDIA's container. The container's native onnxruntime and dali
backends are replaced by the Python drop-ins in `triton_backends/`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import child, leftovers, memory
from pipelines.device import CPU, Device, require
from pipelines.errors import ServerError
from pipelines.served import preprocesses_on_gpu
from pipelines.sizing import SIZED, Sizes, default_sizes, size

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "triton_repo"
BACKENDS = ROOT / "triton_backends"
BUILD = ROOT / "build"
HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
_COMPOSED = "backends"
"""The folder beside the log that a running server takes its backends from."""

_ON_GPU = (
    "build its models with 'bench models --device gpu', and have the server on a GPU: --device gpu "
    "of 'bench serve' and 'bench run'"
)


@dataclass(frozen=True)
class Installation:
    """Where the parts of the server are."""

    binary: Path
    python_backend: Path
    stub: Path
    library_path: str


def installation() -> Installation:
    """Find the server. Raises ServerError saying what is missing and how to get it."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("the Triton server is not installed", hint="run 'make setup'")
    package = Path(spec.submodule_search_locations[0])
    home = package / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.exists():
        raise ServerError(
            f"the Triton server has no Python backend for Python {python}",
            hint="make the virtual environment with Python 3.11, 3.12 or 3.13",
        )
    libraries = [
        package.parent / "nvidia_pytriton.libs",
        BUILD / "libpython",
        Path(str(sysconfig.get_config_var("LIBDIR"))),
    ]
    return Installation(
        binary=home / "bin" / "tritonserver",
        python_backend=home / "backends" / "python",
        stub=stub,
        library_path=":".join(str(library) for library in libraries if library.exists()),
    )


def missing_models(repository: Path, models: Sequence[str] = ()) -> list[str]:
    """Return the models of the repository, and of `models`, that are not built.

    What preprocesses on a GPU is missed only where one of `models` does.
    """
    configs = {config.parent.name: config for config in repository.glob("*/config.pbtxt")}
    on_gpu = any(map(preprocesses_on_gpu, models))
    needed = {name for name in configs if on_gpu or not preprocesses_on_gpu(name)}
    return sorted(
        name
        for name in needed | {*models} - {"*"}
        if name not in configs or not _built(configs[name])
    )


def _built(config: Path) -> bool:
    version = config.parent / "1"
    backend = re.search(r'backend: "(\w+)"', config.read_text())
    files = {"onnxruntime": "model.onnx", "dali": "model.dali", "python": "model.py"}
    if backend is None:
        return version.is_dir()
    return (version / files.get(backend[1], "")).exists()


def free_port() -> int:
    """Return a port such that it and the next two are free on HOST: HTTP, gRPC, metrics."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port < 65000 and all(_is_free(port + i) for i in range(3)):
            return port
    raise ServerError("no three free ports in a row", hint="choose one with --port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Triton binds
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Server:
    """A running embedded Triton. HTTP is on `port`, gRPC on the next, metrics on the one after."""

    def __init__(self, process: subprocess.Popen[bytes], *, port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder

    @property
    def url(self) -> str:
        """The HTTP address, host:port."""
        return f"{HOST}:{self.port}"

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when every model is ready. Raises ServerError when the server dies or is late."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(
                    f"Triton stopped while starting: {self._complaint()}",
                    hint=f"the whole story is in {self.folder / 'triton.log'}",
                )
            if is_ready(self.url):
                return
            time.sleep(0.05)
        self.stop()
        raise ServerError(
            f"Triton was not ready after {timeout_s:.0f} s",
            hint=f"the whole story is in {self.folder / 'triton.log'}",
        )

    def _complaint(self) -> str:
        log = (self.folder / "triton.log").read_text(errors="replace").splitlines()
        telling = [
            line
            for line in log
            if re.search(r"^error:|\w*Error:|UNAVAILABLE|already in use", line)
            and "NVML" not in line
        ]
        return (telling or log or ["it said nothing"])[0].strip("| ")[:300]

    def stop(self) -> None:
        """Let requests in flight finish, unload the models, and leave no process behind."""
        try:
            child.end(self.process, ask=signal.SIGINT, patience_s=STOP_TIMEOUT_S)
        finally:
            shutil.rmtree(self.folder / _COMPOSED, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    folder: Path,
    *,
    repository: Path = REPOSITORY,
    backends: Path = BACKENDS,
    port: int | None = None,
    sizes: Sizes | None = None,
    models: Sequence[str] = (),
) -> Server:
    """Start the embedded Triton with these models ("*": all); its log and traces go into `folder`.

    The server ends with this process, however that ends. Call `wait_ready` before use; `load` adds
    models later.
    Raises ServerError when something is missing or the port is taken.
    """
    parts = installation()
    sizes = sizes or default_sizes()
    require(sizes.device)
    models = _wanted(repository, models, device=sizes.device)
    chosen = free_port() if port is None else port
    taken = [chosen + i for i in range(3) if not _is_free(chosen + i)]
    if taken:
        raise ServerError(
            f"port {taken[0]} is in use", hint="stop what uses it, or choose another --port"
        )
    leftovers.sweep_shared_memory()
    leftovers.sweep_folders(folder.parent, name=_COMPOSED)
    folder.mkdir(parents=True, exist_ok=True)
    size(repository, sizes, plans=False)  # it has no tensorrt backend
    composed = backend_directory(parts, backends, into=folder / _COMPOSED)
    command = [
        str(parts.binary),
        *options(repository, composed, port=chosen),
        *(f"--load-model={model}" for model in models),
        f"--trace-config=triton,file={folder / 'trace.json'}",
        f"--backend-config=python,shm-region-prefix-name={leftovers.PREFIX}-{leftovers.owner()}-triton",
    ]
    with (folder / "triton.log").open("wb") as log:
        process = child.spawn(command, output=log, environment=environment(parts))
    return Server(process, port=chosen, folder=folder)


def _wanted(repository: Path, models: Sequence[str], *, device: Device) -> list[str]:
    """Return the names of the models to serve. Raises ServerError when one cannot be."""
    if list(models) == ["*"]:
        names = sorted(config.parent.name for config in repository.glob("*/config.pbtxt"))
        models = [n for n in names if device.kind == "gpu" or not preprocesses_on_gpu(n)]
    on_gpu = any(map(preprocesses_on_gpu, models))
    if on_gpu and device.kind == "cpu":
        raise ServerError("the place server-gpu needs a server on a GPU", hint=_ON_GPU)
    missing = missing_models(repository, models)
    if missing:
        cure = "run 'bench models --device gpu'" if on_gpu else "run 'bench models'"
        raise ServerError(f"the model repository is not built: {', '.join(missing)}", hint=cure)
    return list(models)


def environment(parts: Installation) -> dict[str, str]:
    """Return the environment in which the server finds its libraries and our Python."""
    return os.environ | {
        "LD_LIBRARY_PATH": parts.library_path,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        **memory.ENVIRONMENT,
    }


def options(repository: Path, backends: Path, *, port: int) -> list[str]:
    """Return the server's options. Tracing is ready but off: a run turns it on over HTTP."""
    return [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--model-config-name={SIZED}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=10",
        *(f"--{name}-address={HOST}" for name in ("http", "grpc", "metrics")),
        *(f"--{name}-port={port + i}" for i, name in enumerate(("http", "grpc", "metrics"))),
        "--trace-config=mode=triton",
        "--trace-config=level=OFF",
        "--trace-config=rate=1",
        "--trace-config=count=-1",
    ]


def backend_directory(parts: Installation, backends: Path, *, into: Path) -> Path:
    """Make the backend directory: the Python backend, its stub, and our drop-ins."""
    python = into / "python"
    python.mkdir(parents=True, exist_ok=True)
    files = [file for file in parts.python_backend.iterdir() if file.is_file()]
    for file in [*files, parts.stub]:
        shutil.copy(file, python / file.name)  # Triton refuses a backend behind a link
    for backend in backends.iterdir():
        link = into / backend.name
        link.unlink(missing_ok=True)
        link.symlink_to(backend)
    for program in (parts.binary, python / parts.stub.name):
        program.chmod(program.stat().st_mode | 0o111)
    return into


def is_ready(url: str) -> bool:
    """Whether a Triton at `url` (host:port of HTTP) says that it is ready."""
    return _answers(f"http://{url}/v2/health/ready")


def load(url: str, models: Iterable[str]) -> None:
    """Have the Triton at `url` (host:port of HTTP) serve these models, those that it does not yet.

    Raises ServerError in Triton's own words when it refuses.
    """
    for model in models:
        if _answers(f"http://{url}/v2/models/{model}/ready"):
            continue
        request = urllib.request.Request(
            f"http://{url}/v2/repository/models/{model}/load", data=b"{}", method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=START_TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            raise ServerError(
                f"Triton at {url} does not serve {model}: {_words(error)}",
                hint=f"this is the place server-gpu: {_ON_GPU}"
                if preprocesses_on_gpu(model)
                else "start it with --model-control-mode=explicit, as 'bench serve' does, or with "
                "this model; is the model built ('bench models')?",
            ) from error
        except (OSError, ValueError) as error:
            raise ServerError(f"Triton at {url} does not load {model}: {error}") from error


def device_of(url: str, model: str) -> Device:
    """Return where the Triton at `url` (host:port of HTTP) runs the model.

    Raises ServerError when it does not say.
    """
    try:
        with urllib.request.urlopen(f"http://{url}/v2/models/{model}/config", timeout=10) as reply:
            groups = json.loads(reply.read())["instance_group"]
        gpus = sorted({int(gpu) for group in groups for gpu in group.get("gpus", [])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"Triton at {url} does not say where it runs {model}: {error}") from error
    return Device("gpu", tuple(gpus)) if gpus else CPU


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]).splitlines()[0]  # then a Python stack
    except (OSError, ValueError, LookupError, TypeError):
        return str(error)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
