"""How far a server lets us see into a run: each level begins before the load, and is over after it.

The best that can be had is found by trying: a first request must be found where the level says that
it will be.
"""

import contextlib
import shutil
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from bench.record import trace
from bench.record.foreign import otlp
from bench.record.foreign.statistics import Snapshot, snapshot, write_snapshots
from bench.record.foreign.traffic import Execution
from bench.record.manifest import Manifest
from bench.runs.attached.receiver import Receiver
from bench.runs.attached.setting import JOURNALS, Borrowed, read, why
from pipelines import processes
from pipelines.errors import ResultsError, ServerError
from pipelines.servers import control

Ask = Callable[[str], None]
"""Sends one request under that id."""

WRITTEN_S = 3.0
"""How long Triton has to write its trace out."""

EXPORTED_S = 15.0
"""How long a request may be on its way to the receiver: Triton exports every five seconds."""

COUNTED_S = 0.3
"""How long Triton may take to count a request whose reply it has sent."""

EVERY_S = 1.0
_TICK_S = 0.05
_ALL = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "-1"}


class Level(Protocol):
    """One level of LEVELS, while it lasts."""

    def finish(self, folder: Path, manifest: Manifest) -> None:
        """Write what was seen into the run's folder, in its clock."""

    def close(self) -> None:
        """Leave the server as it was found."""


class Trace(Level):
    """(a) The trace file of a server on this host."""

    def __init__(self, url: str, model: str, ask: Ask) -> None:
        """Raises ServerError saying why it cannot be had."""
        said = read(url, model)
        if said.get("trace_mode") == "opentelemetry":
            raise ServerError("it exports to OpenTelemetry, which --otlp-port receives")
        if not said.get("trace_file"):
            raise ServerError("it was started without --trace-config=triton,file=PATH")
        if said.get("trace_level") != ["OFF"]:
            raise ServerError("it is being traced for somebody else, whose setting stays")
        changes = _ALL | {"log_frequency": str(control.A_FILE)}
        self._borrowed = Borrowed(url, model, changes)
        try:
            id = f"visiontax-{processes.owner()}-trace"
            ask(id)
            self._borrowed.flush()
            if not self._is_written(id):
                raise ServerError(f"its trace file {said['trace_file']} is not on this host")
        except BaseException:
            self.close()
            raise

    def _is_written(self, id: str) -> bool:
        until = time.monotonic() + WRITTEN_S
        while time.monotonic() < until:
            for path in self._borrowed.files():
                with contextlib.suppress(OSError):
                    if id.encode() in path.read_bytes():
                        return True
            time.sleep(_TICK_S)
        return False

    def finish(self, folder: Path, manifest: Manifest) -> None:
        """Move its files into the folder, and fold them."""
        del manifest
        try:
            self.close()
            time.sleep(2 * _TICK_S)
        finally:  # a server that died has written what it could
            file, first = self._borrowed.file, self._borrowed.journal.first
            assert file
            with contextlib.suppress(PermissionError):  # then they are copies
                trace.collect(file, folder, first=first, last=True)
            trace.fold(folder)

    def close(self) -> None:
        self._borrowed.back()


class Otlp(Level):
    """(b) The spans that a server in OpenTelemetry mode exports to a port of ours."""

    def __init__(self, url: str, model: str, ask: Ask, *, port: int) -> None:
        """Raises ServerError saying why it cannot be had."""
        said = read(url, model)
        file = JOURNALS / f"{processes.PREFIX}-{processes.owner()}-otlp.jsonl"
        self._receiver, self._file, self._ask = Receiver(port, file), file, ask
        self._borrowed: Borrowed | None = None
        try:
            if said.get("trace_mode", "opentelemetry") != "opentelemetry":
                raise ServerError("it is not in OpenTelemetry mode")
            if said.get("trace_level") == ["OFF"]:
                self._borrowed = Borrowed(url, model, {"trace_level": ["TIMESTAMPS"]})
            id = f"visiontax-{processes.owner()}-first"
            ask(id)
            if not self._receiver.await_(id, patience_s=EXPORTED_S):
                raise ServerError(f"nothing of a first request came within {EXPORTED_S:.0f} s")
        except BaseException as error:
            self.close()
            if not isinstance(error, ServerError):
                raise
            raise ServerError(f"no spans can be had of it: {error}", hint=self._cure()) from error

    def _cure(self) -> str:
        return (
            "start Triton with --trace-config=mode=opentelemetry --trace-config=level=TIMESTAMPS "
            f"--trace-config=rate=0 --trace-config=opentelemetry,url={self._receiver.url}"
        )

    def finish(self, folder: Path, manifest: Manifest) -> None:
        """Keep what came, and what it says of the load's requests as its trace."""
        id = f"visiontax-{processes.owner()}-last"
        with contextlib.suppress(ServerError):  # a server that died exports no more
            self._ask(id)
            self._receiver.await_(id, patience_s=EXPORTED_S)
        self._receiver.close()
        shutil.move(self._file, folder / "otlp.jsonl")
        ahead_ns = int(manifest.clock["unix_ns"]) - int(manifest.clock["monotonic_ns"])
        rows = [
            [one.request, one.model, one.id, one.parent, *_stamps(one, ahead_ns)]
            for root in otlp.read([folder / "otlp.jsonl"]).roots
            for one in root.all()
        ]
        trace.write(folder, rows)
        self.close()

    def close(self) -> None:
        self._receiver.close()
        self._file.unlink(missing_ok=True)
        if self._borrowed:
            self._borrowed.back()


def _stamps(one: Execution, ahead_ns: int) -> list[int]:
    """Its events on the clock of the run, by which the wall clock is so far ahead."""
    return [max(0, one.events.get(event, ahead_ns) - ahead_ns) for event in trace.EVENTS]


class Statistics(Level):
    """(c) The counters of all models, asked once a second; any level of Triton's has them."""

    def __init__(self, url: str) -> None:
        """Raises ServerError saying why they cannot be had."""
        self._url, self._taken = url, list[Snapshot]()
        time.sleep(COUNTED_S)
        self._take()

    def tick(self) -> None:
        """Ask, where it is time."""
        if time.monotonic_ns() >= self._taken[-1].time_ns + EVERY_S * 1e9:
            self._take()

    def _take(self) -> None:
        try:
            answer = control.ask(self._url, "/v2/models/stats")
            self._taken.append(snapshot(answer, time_ns=time.monotonic_ns()))
        except (OSError, ValueError, HTTPException, ResultsError) as error:
            if not self._taken:
                raise ServerError(f"it has no statistics: {why(error)}") from error

    def finish(self, folder: Path, manifest: Manifest) -> None:
        """Take the last, and write them down."""
        del manifest
        time.sleep(COUNTED_S)
        self._take()
        write_snapshots(folder, self._taken)

    def close(self) -> None:
        """Nothing was changed."""
