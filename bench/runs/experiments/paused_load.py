"""A load generator that stands ready, and asks only while it has the turn."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.record import records, scenario
from bench.record.manifest import MANIFEST
from bench.runs.equipment import folder
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.side import Side
from bench.runs.experiments.start import as_child
from bench.runs.run import LOG, Plan, disk_failed, exact
from pipelines.errors import ServerError, VisiontaxError
from pipelines.processes import Child
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
        workers: Sequence[Child],
    ) -> None:
        self.side, self.folder = side, into
        self._traced = settings.server if settings.traced else None
        self._server = settings.server if settings.named else self._traced
        plan = Plan(settings, duration_s=LONG_S - settings.warmup_s, repository=side.repository)
        pids = [each.process.pid for each in workers]
        spec, total_s = plan.load(into.resolve(), paused=True, workers=pids)
        (into / records.TURNS).touch()
        self._turns = (into / records.TURNS).open("rb")
        how = as_child(at)
        how["environment"] = how["environment"] | exact(spec.scenario)
        self.child = Child(
            f"the load of {side.title}",
            [str(at.python), *at.speaks.load(spec, total_s=total_s, program=at.load)],
            log=into / LOG,
            is_ready=lambda _: self._turn(running=False) is not None,
            start_timeout_s=LOAD_TIMEOUT_S,
            **how,
        )

    def wait(self) -> None:
        """Return when it stands ready. Raises VisiontaxError in its own words when it cannot."""
        self.child.wait_ready()

    def take(self) -> int:
        """Let it go on, and return since when it does, on the monotonic clock in ns."""
        return self._change(running=True)

    def rest(self) -> None:
        """Pause it, and return when its last request has ended."""
        self._change(running=False)

    def _change(self, *, running: bool) -> int:
        """Have it do so, and return since when it does."""
        self.child.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + TURN_TIMEOUT_S
        while (since_ns := self._turn(running=running)) is None:
            if self.child.process.poll() == os.EX_IOERR:
                raise disk_failed(self.folder)
            if not self.child.alive:
                said = self.child.complaint()
                raise VisiontaxError(f"{self.child.name} has failed: {said.words}", hint=said.hint)
            if time.monotonic() > deadline:
                raise VisiontaxError(
                    f"{self.child.name} has not {'gone on' if running else 'paused'} "
                    f"after {TURN_TIMEOUT_S:.0f} s",
                    hint=f"a request takes too long, or the disk is full; see {self.child.log}",
                )
            time.sleep(POLL_S)
        return since_ns

    def _turn(self, *, running: bool) -> int | None:
        """Return since when it goes on, or rests, on the monotonic clock; None when not yet."""
        while line := self._turns.readline():
            turn = msgspec.json.decode(line, type=records.Turn)
            if turn.running == running:
                return turn.time_ns
        return None

    def confirm(self) -> None:
        """Raise DiedError when its server is there no more, or was started again: such a one does
        not trace.
        """
        gone = self._server and not control.is_ready(self._server)
        if self._traced and not gone:
            gone = control.setting(self._traced).get("trace_level") == ["OFF"]
        if gone:
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
        telling = ("warning: ", "error: ", "Traceback")
        worth = any(line.startswith(telling) for line in self.child.lines())
        if (self.folder / MANIFEST).exists() and not worth:
            (self.folder / LOG).unlink()
