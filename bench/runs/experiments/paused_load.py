"""A load generator that stands ready, and asks only while it has the turn."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import msgspec

from bench.record import records, scenario
from bench.runs.equipment import folder
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.side import Side
from bench.runs.experiments.start import _by, _spawn, complaint
from bench.runs.run import Plan
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import control

LOAD_TIMEOUT_S = 120.0
"""How long a load may take to start, which for DALI includes measuring its steps."""

TURN_TIMEOUT_S = 60.0
"""How long a load's requests in flight may take when it is paused."""
POLL_S = 0.002
LONG_S = 7 * 86_400
"""How long a load would go on: the experiment ends it long before."""


class DiedError(ServerError):
    """A server that was ready has ended by itself."""


class Load:
    """A running load generator that is paused unless it has the turn."""

    def __init__(
        self,
        side: Side,
        settings: scenario.Settings,
        *,
        into: Path,
        at: Checkout,
        workers: list[int],
    ) -> None:
        self.side, self.folder = side, into
        self._traced = settings.server if settings.traced else None
        self._log = into / "locust.log"
        plan = Plan(settings, duration_s=LONG_S, repository=side.repository)
        spec, total_s = plan.load(into.resolve(), paused=True, workers=workers)
        command = at.speaks.load(spec, total_s=total_s, program=at.load)
        (into / records.TURNS).touch()
        self._turns = (into / records.TURNS).open("rb")
        self.process = _spawn(_by(at, command), log=self._log, at=at)

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
                turn = msgspec.json.decode(line, type=records.Turn)
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
        if self._traced and not control.is_ready(self._traced):
            raise DiedError(
                f"the server of {self.side.title} has ended in mid-experiment",
                hint=f"'bench report {self.folder}' shows the errors; if it was started for this "
                f"experiment, {folder() / f'serve-{self.side.name}.log'} names its log",
            )

    def flush(self) -> None:
        """Have its trace written out. It is paused, and has the server for itself."""
        if self._traced:
            control.flush(self._traced)

    def check(self) -> float:
        """Return the shortest latency so far, in seconds.

        Raises VisiontaxError when none of its requests has succeeded.
        """
        made = list(records.read_requests(self.folder))
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
        if (self.folder / records.MANIFEST).exists() and not _warnings(self._log):
            self._log.unlink()


def _warnings(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("warning: ", "error: ", "Traceback"))]
