"""Child processes that end with their parent, however that ends."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipelines import processes
from pipelines.errors import ServerError


def spawn(
    command: Sequence[str],
    *,
    output: BinaryIO,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the command, in `folder`, as the head of a process group; what it says is `output`."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], *, ask: signal.Signals, patience_s: float) -> None:
    """Ask it to end, and after `patience_s` leave nothing of its group."""
    end_all([process], ask=ask, patience_s=patience_s)


def end_all(
    processes: Sequence[subprocess.Popen[bytes]], *, ask: signal.Signals, patience_s: float
) -> None:
    """Ask all of them at once to end, and after `patience_s` each leave nothing of their groups."""
    try:
        for process in processes:
            if process.poll() is None:
                process.send_signal(ask)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    finally:  # also after a second, impatient Ctrl-C
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_line(
    process: subprocess.Popen[bytes], log: Path, *, ending: str, timeout_s: float
) -> bool:
    """Wait until the last line in its log ends so; return False when it has ended before.

    Raises TimeoutError when neither is so after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not last_line(log).endswith(ending):
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
    return True


def last_line(log: Path) -> str:
    """Return the last line of a log, or that there is none."""
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


def complaint(log: Path) -> tuple[str, str] | None:
    """Return the error that a command of ours left in its log, and its hint; None without one."""
    lines = log.read_text(errors="replace").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("error: "):
            hint = after.removeprefix("hint: ") if after.startswith("hint: ") else ""
            return line.removeprefix("error: "), hint
    return None


PREFIX = "visiontax"
"""Our regions of shared memory are named PREFIX-<owner>-..."""


def owner(pid: int | None = None) -> str:
    """Return the tag of what this process, or another of its PID namespace, owns; without a `-`."""
    return f"{_namespace()}_{os.getpid() if pid is None else pid}"


def sweep_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions of processes that are gone, but for those of other users."""
    for name in abandoned((path.name for path in folder.iterdir()), PREFIX):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            (folder / name).unlink()


def sweep_folders(folder: Path, *, name: str) -> None:
    """Remove the subfolder `name` of each folder `<owner>` or `...-<owner>` that is gone.

    A bare pid is one of this PID namespace.
    """
    for path in folder.glob(f"*/{name}"):
        tag = path.parent.name.rpartition("-")[2]
        if _is_left(tag if "_" in tag else f"{_namespace()}_{tag}"):
            shutil.rmtree(path, ignore_errors=True)


def abandoned(names: Iterable[str], prefix: str) -> list[str]:
    """Return those that are named `<prefix>-<owner>-...` after a process that is gone."""
    owned = [name for name in names if name.startswith(f"{prefix}-")]
    return [name for name in owned if _is_left(name.removeprefix(f"{prefix}-").split("-")[0])]


def _is_left(tag: str) -> bool:
    """Whether the tag is of a process of this PID namespace, and that is gone."""
    namespace, _, pid = tag.rpartition("_")
    return namespace == _namespace() and pid.isdecimal() and _is_gone(int(pid))


def _namespace() -> str:
    """Eight hexadecimal digits for the PID namespace of this process, and the boot it is of."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    inode = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{boot} {inode}".encode()).hexdigest()[:8]


def _is_gone(pid: int) -> bool:
    """Whether no process has the number, or one that has ended and is only not waited for."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except PermissionError:
        return False  # it is another user's
    except (OSError, OverflowError):
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port such that it and the next two are free on HOST: HTTP, gRPC, metrics."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port < 65000 and all(is_free(port + i) for i in range(3)):
            return port
    raise ServerError("no three free ports in a row", hint="choose one with --port")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Triton binds
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Service:
    """A running service; its log is `<folder>/<name>.log`, its data `<folder>/<name>-data`."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        *,
        port: int,
        folder: Path,
        is_ready: Callable[[str], bool],
    ) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.log = folder / f"{name}.log"
        self._data = data_folder(folder, name)
        self._is_ready = is_ready

    @property
    def url(self) -> str:
        """The address, host:port."""
        return f"{HOST}:{self.port}"

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when it answers. Raises ServerError when it stops or is late."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(
                    f"{self.name} stopped while starting: {self._complaint()}",
                    hint=f"the whole story is in {self.log}",
                )
            if self._is_ready(self.url):
                return
            time.sleep(0.02)
        self.stop()
        raise ServerError(
            f"{self.name} was not ready after {timeout_s:.0f} s",
            hint=f"the whole story is in {self.log}",
        )

    def _complaint(self) -> str:
        log = [line for line in self.log.read_text(errors="replace").splitlines() if line]
        telling = [line for line in log if re.search(r"error|exception|fatal", line, re.IGNORECASE)]
        return (telling or log or ["it said nothing"])[0].strip()[:300]

    def stop(self) -> None:
        """End it, and remove its data; the log stays."""
        try:
            processes.end(self.process, ask=signal.SIGTERM, patience_s=STOP_TIMEOUT_S)
        finally:
            shutil.rmtree(self._data, ignore_errors=True)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def data_folder(folder: Path, name: str) -> Path:
    """Return where the service `name` with its log in `folder` keeps its data."""
    return folder / f"{name}-data"


def start(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    folder: Path,
    is_ready: Callable[[str], bool],
) -> Service:
    """Start a service that listens on `port` of HOST; `is_ready` asks the one at a host:port."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        process = processes.spawn(command, output=log)
    return Service(name, process, port=port, folder=folder, is_ready=is_ready)


def choose_port(wanted: int | None) -> int:
    """Return the port wanted, or any free one. Raises ServerError when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services bind
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise ServerError(
                f"port {wanted} is in use", hint="stop what uses it, or choose another one"
            ) from error
        return int(probe.getsockname()[1])
