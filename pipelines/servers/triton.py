"""The embedded Triton: NVIDIA's own server binary from a PyPI wheel, started as a child process.

It serves the same `triton_repo/` as NVIDIA's container. The container's native onnxruntime and dali
backends are replaced by the Python drop-ins in `triton_backends/`.
"""

import importlib.util
import os
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import processes
from pipelines.errors import ServerError
from pipelines.paths import BACKENDS, BUILD, ELSEWHERE, REPOSITORY
from pipelines.processes import HOST, free_port
from pipelines.servers import malloc
from pipelines.servers.control import ON_GPU as _ON_GPU
from pipelines.servers.control import START_TIMEOUT_S, is_ready
from pipelines.servers.device import Device, require
from pipelines.servers.launch import guard, trace_shim
from pipelines.servers.service import Service
from pipelines.servers.sizing import SIZED, Sizes, default_sizes, size
from pipelines.tasks.served import missing_models, preprocesses_on_gpu

STOP_TIMEOUT_S = 20.0
_THROUGH = "All models are stopped, unloading models"
"""What it says, once asked to end, when no request is in flight any more."""

LOG = "triton.log"
"""Its log, beside its trace."""

_TICK_S = 0.05
_COMPOSED = "backends"
"""The folder beside the log that a running server takes its backends from."""


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


class Server(Service):
    """A running embedded Triton. HTTP is on `port`, gRPC on the next, metrics on the one after.

    Asked to end, it lets requests in flight finish.
    """

    ask_by = signal.SIGINT
    telling = r"^(?!.*NVML).*(^error:|\w*Error:|UNAVAILABLE|already in use)"

    def wait(self, seconds: float) -> None:
        """Return when it has ended or, asked to end, has answered all requests; or after so long.

        What it does then is to unload its models, which takes seconds and helps nobody.
        """
        until = time.monotonic() + seconds
        while self.alive and not self._is_through() and time.monotonic() < until:
            super().wait(_TICK_S)

    def _is_through(self) -> bool:
        return any(_THROUGH in line for line in self.lines())

    def stop(self) -> None:
        """End it, and remove what it, or a model's process that was killed, has left in memory."""
        try:
            super().stop()
        finally:
            processes.remove_shared_memory(_regions(self.port))


def start(
    folder: Path,
    *,
    repository: Path = REPOSITORY,
    backends: Path = BACKENDS,
    port: int | None = None,
    listen: str = HOST,
    sizes: Sizes | None = None,
    models: Sequence[str] = (),
    shim: bool = True,
) -> Server:
    """Start the embedded Triton with these models ("*": all); its log and traces go into `folder`.

    The server ends with this process, however that ends. Call `wait_ready` before use; `load` adds
    models later. Without `shim` its tracing is left as it came.
    Raises ServerError when something is missing, the port is taken, or there is a space in the path
    of `folder`: Triton hands paths to a shell as they are.
    """
    if " " in str(folder.resolve()):
        raise ServerError(
            f"Triton cannot run models below a folder with a space in its name: {folder.resolve()}",
            hint="move the checkout, or start Triton elsewhere and say where with --server",
        )
    parts = installation()
    sizes = sizes or default_sizes()
    require(sizes.device)
    models = _wanted(repository, models, device=sizes.device)
    chosen = free_port(port, count=3)
    processes.sweep_shared_memory()
    processes.sweep_folders(folder.parent, name=_COMPOSED)
    size(repository, sizes, plans=False)  # it has no tensorrt backend
    composed = backend_directory(parts, backends, into=folder / _COMPOSED)
    described = {ELSEWHERE: str(repository.resolve())}
    if " " in str(repository.resolve()):
        (composed / "repository").symlink_to(repository.resolve())
        repository = composed / "repository"
    command = [
        *(sys.executable, "-I", guard.__file__, _regions(chosen)),
        *(*(trace_shim.preloading() if shim else ()), str(parts.binary)),
        *options(repository, composed, port=chosen, listen=listen),
        *(f"--load-model={model}" for model in models),
        f"--trace-config=triton,file={folder / 'trace.json'}",
        f"--backend-config=python,shm-region-prefix-name={_regions(chosen)}",
    ]
    return Server(
        "Triton",
        command,
        port=chosen,
        folder=folder,
        is_ready=is_ready,
        data=composed,
        environment=environment(parts) | described,
        start_timeout_s=START_TIMEOUT_S,
        patience_s=STOP_TIMEOUT_S,
    )


def _regions(port: int) -> str:
    """What the names of the regions of shared memory begin with that a server of ours makes."""
    return f"{processes.PREFIX}-{processes.owner()}-triton-{port}-"


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
        **malloc.ENVIRONMENT,
    }


def options(repository: Path, backends: Path, *, port: int, listen: str = HOST) -> list[str]:
    """Return the server's options. Tracing is ready but off: a run turns it on over HTTP."""
    return [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--model-config-name={SIZED}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=10",
        *(f"--{name}-address={listen}" for name in ("http", "grpc", "metrics")),
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
