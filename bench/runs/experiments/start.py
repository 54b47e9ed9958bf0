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

from bench.generator.setup import setup_of
from bench.record import scenario
from bench.runs.equipment import SERVICE_OF, folder, worker_command
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.side import Side
from pipelines import processes
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import control
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES

START_TIMEOUT_S = 180.0

STOP_TIMEOUT_S = 60.0


@contextlib.contextmanager
def equipped(sides: Sequence[tuple[Side, Checkout]]) -> Iterator[list[scenario.Settings]]:
    """Yield each side's settings with the addresses of its own server, brokers and workers.

    Raises VisiontaxError in the words of what does not start.
    """
    folder().mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        # One after the other: servers of one repository write the same files when they start.
        yield [_equip(side, at=at, started=started) for side, at in sides]
    finally:
        end(started)


def _equip(
    side: Side, *, at: Checkout, started: list[subprocess.Popen[bytes]]
) -> scenario.Settings:
    settings = side.settings
    if _needs_server(side) or _services(settings):
        log = folder() / f"serve-{side.name}.log"
        started.append(_spawn(_by(at, _serve_command(side)), log=log, at=at))
        _await_line(started[-1], log, ready="ready; stop with Ctrl-C", what=side.title)
        settings = _addressed(settings, _addresses(log))
    if settings.server and settings.traced:
        if not control.is_ready(settings.server):
            raise ServerError(
                f"{side.title}: Triton is not ready at {settings.server}",
                hint="is 'bench serve' running? without server= one is started",
            )
        control.load(settings.server, choose.models(setup_of(settings)))
    for stage, count in zip(STAGES, settings.workers, strict=True):
        for number in range(count if settings.brokered else 0):
            log = folder() / f"worker-{side.name}-{stage}-{number + 1}.log"
            command = _by(at, worker_command(settings, stage)[1:])
            started.append(_spawn(command, log=log, at=at))
            _await_line(started[-1], log, ready=": ready", what=f"a worker of {side.title}")
    return settings


def _needs_server(side: Side) -> bool:
    return side.settings.traced and side.settings.server is None


def _services(settings: scenario.Settings) -> list[str]:
    """What `bench serve` is to start beside Triton."""
    if not settings.brokered:
        return []
    needed = set() if settings.broker else {SERVICE_OF[str(settings.topology)]}
    if settings.crops == "reference" and not settings.claims:
        needed.add("redis")
    return sorted(needed)


def _serve_command(side: Side) -> list[str]:
    command = ["-m", "bench", "serve", side.settings.pipeline, "--device", str(side.device)]
    if side.repository:
        command += ["--repository", str(side.repository.resolve())]
    for service in _services(side.settings):
        command += ["--with", service]
    return command


def _addresses(log: Path) -> dict[str, str]:
    """Return host:port of everything that `bench serve` says it has started."""
    pairs = [line.split() for line in log.read_text(errors="replace").splitlines()]
    return {pair[0]: pair[1].removeprefix("http://") for pair in pairs if len(pair) == 2}


def _addressed(settings: scenario.Settings, urls: dict[str, str]) -> scenario.Settings:
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
