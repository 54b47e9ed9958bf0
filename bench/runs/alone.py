"""Inference alone as a run: the DNN asked with a ready tensor, by processes of its own.

It leaves a folder like any run's, which `bench report` reads. As a program it is the load of one.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.generator.session import COOLDOWN_NS, Session
from bench.ledger import units
from bench.prepare.images.sets import ImageSet
from bench.record import machine
from bench.record.scenario import Settings
from bench.runs.run import Plan
from pipelines import tasks
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import control

TENSOR, NOBODY = "tensor", "none"
"""The `images` of such a run, and its `preprocess` and `place`."""

STOP_TIMEOUT_S = 40.0


def alone(settings: Settings) -> Settings:
    """Return the settings of inference alone beside a run with these."""
    return msgspec.structs.replace(settings, images=TENSOR, preprocess=NOBODY, place=NOBODY)


@dataclass(frozen=True)
class Alone(Plan):
    """A run of inference alone; its settings are those of `alone`."""

    @property
    def title(self) -> str:
        """What tells this run from the others."""
        chosen = self.settings
        users = units.count(chosen.users, "user")
        return f"{chosen.pipeline} inference alone {chosen.transport} {users}"

    def command(self, folder: Path) -> list[str]:
        """Return the command that makes this run in `folder`."""
        return [
            *("setpriv", "--pdeathsig", "TERM", "--"),
            *(sys.executable, "-m", "bench.runs.alone"),
            *(_encoded(self.settings), str(folder), str(self.duration_s)),
        ]


def shares(users: int, *, cores: int) -> list[int]:
    """Return how many users each process has: half of the cores are the load's, at least one."""
    count = min(users, max(1, cores // 2))
    return [users // count + (number < users % count) for number in range(count)]


def measure(settings: Settings, folder: Path, *, duration_s: float) -> None:
    """Make the run. Raises VisiontaxError when it cannot be; Ctrl-C leaves what was measured."""
    if settings.traced and not control.is_ready(settings.server or ""):
        raise ServerError(f"Triton is not ready at {settings.server}", hint="see its log")
    cores = machine.machine()["cores"]
    assert isinstance(cores, int)
    with _users(settings, folder, shares=shares(settings.users, cores=cores)) as processes:
        session = Session(
            settings, images=_tensor(settings), results=folder.parent, folder=folder, recorded=True
        )
        try:
            session.open_window()
            _wait(settings.warmup_s + duration_s + COOLDOWN_NS / 1e9, processes)
        finally:
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
            ):  # a terminal sends both, one after the other
                signal.signal(number, signal.SIG_IGN)
            session.close_window()
            _stop(processes)
            session.finish(ends_ns=None)


@contextlib.contextmanager
def _users(
    settings: Settings, folder: Path, *, shares: list[int]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield the processes of the users, who are asking; none is left afterwards."""
    command = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "--",
        sys.executable,
        "-m",
        "bench.generator.alone_users",
    ]
    processes = [
        subprocess.Popen(
            [*command, _encoded(settings), str(folder), str(users)], stdout=subprocess.PIPE
        )
        for users in shares
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != b"ready":
                raise VisiontaxError("the users of inference alone did not start")
        yield processes
    finally:
        _stop(processes)
        for process in processes:
            if process.stdout is not None:
                process.stdout.close()


def _wait(seconds: float, processes: list[subprocess.Popen[bytes]]) -> None:
    """Return after the time, or when a process has ended before it."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if any(process.poll() is not None for process in processes):
            print("warning: a process of the load ended in mid-run", file=sys.stderr)
            return
        time.sleep(min(left, 0.2))


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tensor(settings: Settings) -> ImageSet:
    """What stands in the manifest where others have their images: the tensor's size."""
    wanted = tasks.task(settings.pipeline).dnn.input
    size_bytes = 3 * wanted.height * wanted.width * 4
    return ImageSet(TENSOR, [], wanted.width, wanted.height, size_bytes)


def _encoded(settings: Settings) -> str:
    return msgspec.json.encode(settings).decode()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        measure(
            msgspec.json.decode(sys.argv[1], type=Settings),
            Path(sys.argv[2]),
            duration_s=float(sys.argv[3]),
        )
    except VisiontaxError as raised:
        print(f"error: {raised}", file=sys.stderr)
        print(f"hint: {raised.hint}" if raised.hint else "", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
