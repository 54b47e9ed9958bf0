"""One side of an experiment standing ready: its server, brokers and workers, and its paused load.

All of them run code of the side's checkout, as children that end with this process.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import results, servertrace
from bench.checkouts import Checkout
from bench.plan import LOAD, Plan
from bench.sides import Side
from bench.stack import SERVICE_OF, folder, setup_of, worker_command
from pipelines import child, topologies
from pipelines import server as embedded
from pipelines.errors import ServerError, VisiontaxError
from pipelines.messages import STAGES

START_TIMEOUT_S = 180.0
LOAD_TIMEOUT_S = 120.0
"""How long a load may take to start, which for DALI includes measuring its steps."""

TURN_TIMEOUT_S = 60.0
"""How long a load's requests in flight may take when it is paused."""

STOP_TIMEOUT_S = 60.0
POLL_S = 0.002
LONG_S = 7 * 86_400
"""How long a load would go on: the experiment ends it long before."""


class DiedError(ServerError):
    """A server that was ready has ended by itself."""


class Load:
    """A running load generator that is paused unless it has the turn."""

    def __init__(self, side: Side, settings: results.Settings, *, into: Path, at: Checkout) -> None:
        self.side, self.folder = side, into
        self._traced = settings.server if settings.traced else None
        self._log = into / "locust.log"
        served = None if side.revision else side.repository  # an older load has no such option
        plan = Plan(settings, duration_s=LONG_S - settings.warmup_s, repository=served)
        ours = {str(LOAD): str(at.load)}
        command = [ours.get(word, word) for word in plan.command(into.resolve())]
        command = [*_by(at, command[command.index("-m") :]), "--paused"]
        (into / results.TURNS).touch()
        self._turns = (into / results.TURNS).open("rb")
        self.process = _spawn(command, log=self._log, at=at)

    def wait(self) -> None:
        """Return when it stands ready. Raises VisiontaxError in its own words when it cannot."""
        self._await(running=False, seconds=LOAD_TIMEOUT_S)

    def take(self) -> int:
        """Let it go on, and return since when it does, on the monotonic clock in ns."""
        self.process.send_signal(signal.SIGUSR2)
        return self._await(running=True, seconds=TURN_TIMEOUT_S)

    def rest(self) -> None:
        """Pause it, and return when its last request has ended."""
        self.process.send_signal(signal.SIGUSR2)
        self._await(running=False, seconds=TURN_TIMEOUT_S)

    def _await(self, *, running: bool, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while True:
            line = self._turns.readline()
            if line:
                turn = msgspec.json.decode(line, type=results.Turn)
                if turn.running == running:
                    return turn.time_ns
                continue
            if self.process.poll() is not None:
                raise complaint(self._log, what=f"the load of {self.side.title}")
            if time.monotonic() > deadline:
                raise VisiontaxError(
                    f"the load of {self.side.title} has not {'gone on' if running else 'paused'} "
                    f"after {seconds:.0f} s",
                    hint=f"a request takes too long, or the disk is full; see {self._log}",
                )
            time.sleep(POLL_S)

    def confirm(self) -> None:
        """Raise DiedError when its server is there no more."""
        if self._traced and not embedded.is_ready(self._traced):
            raise DiedError(
                f"the server of {self.side.title} has ended in mid-experiment",
                hint=f"'bench report {self.folder}' shows the errors; if it was started for this "
                f"experiment, {folder() / f'serve-{self.side.name}.log'} names its log",
            )

    def flush(self) -> None:
        """Have its trace written out. It is paused, and has the server for itself."""
        if self._traced:
            servertrace.flush(self._traced)

    def check(self) -> float:
        """Return the shortest latency so far, in seconds.

        Raises VisiontaxError when none of its requests has succeeded.
        """
        made = list(results.read_requests(self.folder))
        latencies_ns = [one.end_ns - one.due_ns for one in made if one.error is None]
        if not latencies_ns:
            why = f": {made[0].error}" if made else ""
            raise VisiontaxError(
                f"no request of {self.side.title} succeeded{why}",
                hint="try that side alone with 'bench run'",
            )
        return min(latencies_ns) / 1e9

    def close(self) -> None:
        """Keep what it said where that is worth reading. It has ended."""
        self._turns.close()
        if (self.folder / results.MANIFEST).exists() and not _warnings(self._log):
            self._log.unlink()


@contextlib.contextmanager
def equipped(sides: Sequence[tuple[Side, Checkout]]) -> Iterator[list[results.Settings]]:
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


def _equip(side: Side, *, at: Checkout, started: list[subprocess.Popen[bytes]]) -> results.Settings:
    settings = side.settings
    if _needs_server(side) or _services(settings):
        log = folder() / f"serve-{side.name}.log"
        started.append(_spawn(_by(at, _serve_command(side)), log=log, at=at))
        _await_line(started[-1], log, ready="ready; stop with Ctrl-C", what=side.title)
        settings = _addressed(settings, _addresses(log))
    if settings.server and settings.traced:
        if not embedded.is_ready(settings.server):
            raise ServerError(
                f"{side.title}: Triton is not ready at {settings.server}",
                hint="is 'bench serve' running? without server= one is started",
            )
        embedded.load(settings.server, topologies.models(setup_of(settings)))
    for stage, count in zip(STAGES, settings.workers, strict=True):
        for number in range(count if settings.brokered else 0):
            log = folder() / f"worker-{side.name}-{stage}-{number + 1}.log"
            command = _by(at, worker_command(settings, stage)[1:])
            started.append(_spawn(command, log=log, at=at))
            _await_line(started[-1], log, ready=": ready", what=f"a worker of {side.title}")
    return settings


def _needs_server(side: Side) -> bool:
    return side.settings.traced and side.settings.server is None


def _services(settings: results.Settings) -> list[str]:
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


def _addressed(settings: results.Settings, urls: dict[str, str]) -> results.Settings:
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
        return child.spawn(command, output=output, environment=at.environment, folder=at.folder)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all of them at once to end, and leave nothing of their groups."""
    child.end_all(processes, ask=signal.SIGTERM, patience_s=STOP_TIMEOUT_S)


def _await_line(process: subprocess.Popen[bytes], log: Path, *, ready: str, what: str) -> None:
    try:
        if not child.wait_line(process, log, ending=ready, timeout_s=START_TIMEOUT_S):
            raise complaint(log, what=what)
    except TimeoutError:
        raise ServerError(
            f"{what} is not ready after {START_TIMEOUT_S:.0f} s", hint=f"see {log}"
        ) from None


def complaint(log: Path, *, what: str) -> VisiontaxError:
    """Return the error that a child said, or the end of what it said."""
    if said := child.complaint(log):
        return VisiontaxError(f"{what}: {said[0]}", hint=said[1])
    return VisiontaxError(f"{what} has failed: {child.last_line(log)}", hint=f"see {log}")


def _warnings(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("warning: ", "error: ", "Traceback"))]
