"""Writes one generator process's requests to `requests-<pid>.jsonl`.

While a request is in flight nothing is formatted: finished requests wait in memory and are written
a few times a second.
"""

import os
from collections.abc import Callable
from pathlib import Path

import gevent
import msgspec

from pipelines.spans import Request, Span, Trail
from pipelines.topologies.outcome import Outcome

INTERVAL_S = 0.25


class Recorder:
    """Appends requests to a run's folder. `failed` is called once, when writing fails."""

    def __init__(self, folder: Path, *, pipeline: str, failed: Callable[[OSError], None]) -> None:
        self._pipeline = pipeline
        self._failed = failed
        self.paused = False
        self._waiting: list[tuple[str, int, int, int, str | None, Outcome | None]] = []
        self._encoder = msgspec.json.Encoder()
        self._file = (folder / f"requests-{os.getpid()}.jsonl").open("ab", buffering=0)
        self._writer = gevent.spawn(self._write_now_and_then)

    def add(
        self,
        request_id: str,
        outcome: Outcome | None,
        *,
        due_ns: int,
        start_ns: int,
        end_ns: int,
        error: str | None,
    ) -> None:
        """Keep a finished request, unless paused; `outcome` is None when it failed."""
        if self.paused:
            return
        self._waiting.append((request_id, due_ns, start_ns, end_ns, error, outcome))

    def _write_now_and_then(self) -> None:
        while True:
            gevent.sleep(INTERVAL_S)
            self.write()

    def write(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        lines = [self._encoder.encode(self._request(*item)) for item in waiting]
        if not lines:
            return
        try:
            self._file.write(b"\n".join(lines) + b"\n")
        except OSError as error:
            self._failed(error)

    def _request(
        self,
        request_id: str,
        due_ns: int,
        start_ns: int,
        end_ns: int,
        error: str | None,
        outcome: Outcome | None,
    ) -> Request:
        spans = [Span("schedule", due_ns, start_ns, "generator")]
        trail = outcome.trail() if outcome else Trail()
        return Request(
            id=request_id,
            pipeline=self._pipeline,
            due_ns=due_ns,
            start_ns=start_ns,
            end_ns=end_ns,
            error=error,
            bytes_in=outcome.bytes_in if outcome else 0,
            bytes_out=outcome.bytes_out if outcome else 0,
            spans=spans + trail.spans,
            calls=trail.calls,
        )

    def close(self) -> None:
        """Write the rest and close the file."""
        self._writer.kill()
        self.write()
        self._file.close()
