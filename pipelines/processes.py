"""The one way to run a process: a child that ends with its parent, however that ends.

It also names what a process owns outside itself, and sweeps what killed ones have left.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import psutil

from pipelines.errors import ServerError

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
PROGRAM_TIMEOUT_S = 10.0

ENDS_WITHIN_S = 55.0
"""What a command of ours started has ended so long after a Ctrl-C or SIGTERM, stuck or not.

A second one ends it at once.
"""

AGAIN_S = 5.0
ENDING = (signal.SIGINT, signal.SIGTERM)

_end_by_s: float | None = None
"""When that is, on the monotonic clock; None until this process is told to end."""


def end_on_signals(then: Callable[[], object] | None = None) -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, or do `then` the first time.

    A shell starts what a script runs in the background with SIGINT ignored, and Python leaves that.
    """

    def told(*_: object) -> None:
        global _end_by_s
        first, patience_s = _end_by_s is None, ENDS_WITHIN_S if _end_by_s is None else 0.0
        _end_by_s = time.monotonic() + patience_s
        # Whoever swallows it, or is stuck, is told again.
        signal.setitimer(signal.ITIMER_REAL, patience_s or AGAIN_S, AGAIN_S)
        if then is None or not first:
            raise KeyboardInterrupt
        then()

    for number in (*ENDING, signal.SIGALRM):
        signal.signal(number, told)


def outlive_signals() -> None:
    """From now on SIGINT and SIGTERM do nothing: this process ends with its standard input."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


class Complaint(NamedTuple):
    """Why a process has ended, in its words; `own` where it is the error of a command of ours."""

    words: str
    hint: str
    own: bool


class Child:
    """A process of ours, the head of a group; it ends with `stop`, with its `with`, or with us.

    It says what it says in `log`, which is emptied first, or without one where we do. One that is
    `piped` says lines on a pipe, and is asked to end by the end of its standard input.
    """

    ask_by = signal.SIGTERM
    telling = "^error: "
    """What a line of its log matches that says why it has ended."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        piped: bool = False,
        is_ready: Callable[[Child], bool] = lambda _: True,
        start_timeout_s: float = START_TIMEOUT_S,
        patience_s: float = STOP_TIMEOUT_S,
    ) -> None:
        """Start the command, in `folder`; `is_ready` says so of this child.

        It has `start_timeout_s` to become ready, and `patience_s` to end when it is asked to.
        """
        self.name, self.log, self._is_ready = name, log, is_ready
        self._start_timeout_s, self.patience_s = start_timeout_s, patience_s
        with log.open("wb") if log else contextlib.nullcontext() as said:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else said,
                stderr=said,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def ending(self) -> str | None:
        """How it has ended by itself: "SIGSEGV", "code 1"; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return signal.Signals(-code).name if code < 0 else f"code {code}"

    def wait_ready(self) -> None:
        """Return when it is ready. Raises ServerError in its own words when it ends or is late."""
        deadline = time.monotonic() + self._start_timeout_s
        while self.alive and time.monotonic() < deadline:
            if self._is_ready(self):
                return
            time.sleep(0.02)
        said = self.complaint()
        if not self.alive:
            raise ServerError(f"{self.name} stopped while starting: {said.words}", hint=said.hint)
        self.stop()
        late = f"{self.name} was not ready after {self._start_timeout_s:.0f} s"
        raise ServerError(late, hint=said.hint)

    def complaint(self) -> Complaint:
        """Return the first telling line of its log, or the last line, with a hint."""
        lines = self.lines()
        telling = (at for at, line in enumerate(lines) if re.search(self.telling, line))
        at = next(telling, len(lines) - 1)
        hint = next((x for x in lines[at + 1 : at + 2] if x.startswith("hint: ")), "")
        return Complaint(
            lines[at].removeprefix("error: ").strip("| ")[:300],
            hint.removeprefix("hint: ") or (f"see {self.log}" if self.log else "it said why above"),
            own=lines[at].startswith("error: "),
        )

    def lines(self) -> list[str]:
        """Return what its log says by now, or that it says nothing."""
        said = self.log.read_text(errors="replace") if self.log else ""
        return [line for line in said.splitlines() if line.strip()] or ["it said nothing"]

    def stop(self) -> None:
        """Ask it to end, and when its patience is over leave nothing of it."""
        stop_all([self])

    def _ask(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        elif self.alive:
            self.process.send_signal(self.ask_by)

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or after so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        """End it at once, and its group, and what it has started in groups of their own."""
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            if self.alive:
                started = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for each in started:
            with contextlib.suppress(psutil.Error):
                each.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def logged(ending: str) -> Callable[[Child], bool]:
    """Return what says of a child whether the last line of its log ends so."""
    return lambda child: child.lines()[-1].endswith(ending)


def answered(child: Child) -> bool:
    """Whether a piped child has said a line."""
    pipe = child.process.stdout
    assert pipe is not None
    return bool(select.select([pipe], [], [], 0)[0]) and bool(pipe.readline())


def stop_all(children: Sequence[Child]) -> None:
    """Ask all of them at once to end, and when their patience is over leave nothing of any."""
    try:
        for child in children:
            child._ask()
        for child in children:
            child.wait(_left(child.patience_s))
    finally:  # also after a second, impatient Ctrl-C
        for child in children:
            child.kill()


def _left(patience_s: float) -> float:
    """So much of the patience as leaves, when we are to end, some time for what is stopped next."""
    if _end_by_s is None:
        return patience_s
    return min(patience_s, max(0.0, _end_by_s - time.monotonic()) * 3 / 4)


run = partial(
    subprocess.run,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    errors="replace",
    check=False,
)
"""Runs a program to its end, with nothing to read, and returns what it said and ended with."""


def output_of(*command: str) -> str:
    """Return what a short program prints, stripped; nothing when it fails or is not there."""
    try:
        done = run(command, timeout=PROGRAM_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def free_port(wanted: int | None = None, *, count: int = 1) -> int:
    """Return the port wanted, or any, such that it and the next of `count` are free on HOST.

    Raises ServerError when one is in use.
    """
    for _ in range(100):
        port = wanted or _any_port()
        taken = [each for each in range(port, port + count) if not is_free(each)]
        if not taken:
            return port
        if wanted:
            cure = "stop what uses it, or choose another --port"
            raise ServerError(f"port {taken[0]} is in use", hint=cure)
    raise ServerError(f"no {count} free ports in a row", hint="choose one with --port")


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of HOST."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as what we start binds
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


PREFIX = "visiontax"
"""Our regions of shared memory are named PREFIX-<owner>-..."""


def owner(pid: int | None = None) -> str:
    """Return the tag of what this process, or another of its PID namespace, owns; without a `-`."""
    return f"{_namespace()}_{os.getpid() if pid is None else pid}"


def sweep_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions of processes that are gone, but for those of other users."""
    for name in abandoned((path.name for path in folder.iterdir()), PREFIX):
        remove_shared_memory(name, folder)


def remove_shared_memory(beginning: str, folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions whose names begin so, but for those of other users."""
    for path in folder.glob(f"{beginning}*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            path.unlink()


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
