"""One side of an experiment standing ready: its server, brokers and workers, and its paused load.

All of them run code of the side's checkout, as children that end with this process.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.record.scenario import Settings
from bench.runs.equipment import SERVICE_OF, folder
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.protocol import SERVING
from bench.runs.experiments.side import Side
from pipelines import processes
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import control
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES

START_TIMEOUT_S = 180.0

STOP_TIMEOUT_S = 60.0


@contextlib.contextmanager
def equipped(sides: Sequence[tuple[Side, Checkout]]) -> Iterator[list[Settings]]:
    """Yield each side's settings with the addresses of its own server and brokers.

    Raises VisiontaxError in the words of what does not start.
    """
    folder().mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        # One after the other: servers of one repository write the same files when they start.
        yield [_equip(side, at=at, started=started) for side, at in sides]
    finally:
        end(started)


def _equip(side: Side, *, at: Checkout, started: list[subprocess.Popen[bytes]]) -> Settings:
    settings = side.settings
    if _needs_server(side) or _services(settings):
        log, written = (folder() / f"serve-{side.name}.{kind}" for kind in ("log", "json"))
        command = at.speaks.serve(settings, _serve_options(side), addresses=written)
        started.append(_spawn(_by(at, command), log=log, at=at))
        _await_line(started[-1], log, ready=SERVING, what=side.title)
        settings = _addressed(settings, at.speaks.addresses(log, written=written))
    if settings.server and settings.traced:
        if not control.is_ready(settings.server):
            raise ServerError(
                f"{side.title}: Triton is not ready at {settings.server}",
                hint="is 'bench serve' running? without server= one is started",
            )
        control.load(settings.server, choose.models(settings))
    return settings


@contextlib.contextmanager
def staffed(side: Side, settings: Settings, *, at: Checkout) -> Iterator[list[int]]:
    """Yield the pids of the workers that the side needs, none without a broker.

    Raises VisiontaxError in the words of a worker that does not start.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        for stage, count in zip(STAGES, settings.workers, strict=True):
            for number in range(count if settings.brokered else 0):
                log = folder() / f"worker-{side.name}-{stage}-{number + 1}.log"
                command = _by(at, at.speaks.worker(settings, stage))
                started.append(_spawn(command, log=log, at=at))
                _await_line(started[-1], log, ready=": ready", what=f"a worker of {side.title}")
        yield [worker.pid for worker in started]
    finally:
        end(started)


def _needs_server(side: Side) -> bool:
    return side.settings.traced and side.settings.server is None


def _services(settings: Settings) -> list[str]:
    """What `bench serve` is to start beside Triton."""
    if not settings.brokered:
        return []
    needed = set() if settings.broker else {SERVICE_OF[str(settings.topology)]}
    if settings.crops == "reference" and not settings.claims:
        needed.add("redis")
    return sorted(needed)


def _serve_options(side: Side) -> list[str]:
    options = ["--device", side.settings.device]
    if side.repository:
        options += ["--repository", str(side.repository.resolve())]
    for service in _services(side.settings):
        options += ["--with", service]
    return options


def _addressed(settings: Settings, urls: dict[str, str]) -> Settings:
    broker, claims = settings.broker, settings.claims
    if settings.brokered:
        broker = broker or urls[SERVICE_OF[str(settings.topology)]]
        if settings.crops == "reference":
            claims = claims or urls["redis"]
    server = settings.server or (urls["http"] if settings.traced else None)
    return msgspec.structs.replace(settings, server=server, broker=broker, claims=claims)


def _by(at: Checkout, arguments: Sequence[str]) -> list[str]:
    return [str(at.python), *arguments]


def _spawn(command: Sequence[str], *, log: Path, at: Checkout) -> subprocess.Popen[bytes]:
    """Start it in a group of its own: a Ctrl-C is ours, and they end when we say so."""
    with log.open("wb") as output:
        return processes.spawn(command, output=output, environment=at.environment, folder=at.folder)


def end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all of them at once to end, and leave nothing of their groups."""
    processes.end_all(started, ask=signal.SIGTERM, patience_s=STOP_TIMEOUT_S)


def _await_line(process: subprocess.Popen[bytes], log: Path, *, ready: str, what: str) -> None:
    try:
        if not processes.wait_line(process, log, ending=ready, timeout_s=START_TIMEOUT_S):
            raise complaint(log, what=what)
    except TimeoutError:
        raise ServerError(
            f"{what} is not ready after {START_TIMEOUT_S:.0f} s", hint=f"see {log}"
        ) from None


def complaint(log: Path, *, what: str) -> VisiontaxError:
    """Return the error that a child said, or the end of what it said."""
    if said := processes.complaint(log):
        return VisiontaxError(f"{what}: {said[0]}", hint=said[1])
    return VisiontaxError(f"{what} has failed: {processes.last_line(log)}", hint=f"see {log}")
