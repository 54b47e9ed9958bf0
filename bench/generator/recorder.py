"""Writes one generator process's requests to `requests-<pid>.jsonl`.

While a request is in flight nothing is formatted: finished requests wait in memory and are written
a few times a second.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gevent
import msgspec

from pipelines.spans import Request, Span
from pipelines.topologies.outcome import Outcome

INTERVAL_S = 0.25


class Finished(NamedTuple):
    """A request that is over; `outcome` is an empty one where there is an `error`.

    `image`: as in Request.
    """

    id: str
    outcome: Outcome
    due_ns: int
    start_ns: int
    end_ns: int
    error: str | None
    image: int | None


class Recorder:
    """Appends requests to a run's folder. `failed` is called once, when writing fails."""

    def __init__(self, folder: Path, *, pipeline: str, failed: Callable[[OSError], None]) -> None:
        self._pipeline = pipeline
        self._failed = failed
        self.paused = False
        self._full = False
        self._waiting: list[Finished] = []
        self._encoder = msgspec.json.Encoder()
        self._file = (folder / f"requests-{os.getpid()}.jsonl").open("ab", buffering=0)
        self._writer = gevent.spawn(self._write_now_and_then)

    def add(self, finished: Finished) -> None:
        """Keep a finished request, unless paused."""
        if not self.paused:
            self._waiting.append(finished)

    def _write_now_and_then(self) -> None:
        while True:
            gevent.sleep(INTERVAL_S)
            self.write()

    def write(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        lines = [self._encoder.encode(self._request(one)) for one in waiting]
        if not lines or self._full:
            return
        data = b"\n".join(lines) + b"\n"
        try:
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._full = True  # a line may be cut off, and none may come after it
            self._failed(error)

    def _request(self, one: Finished) -> Request:
        outcome, trail = one.outcome, one.outcome.trail()
        return Request(
            id=one.id,
            pipeline=self._pipeline,
            due_ns=one.due_ns,
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            error=one.error,
            bytes_in=outcome.bytes_in,
            bytes_out=outcome.bytes_out,
            spans=[Span("schedule", one.due_ns, one.start_ns, "generator"), *trail.spans],
            calls=trail.calls,
            image=one.image,
        )

    def close(self) -> None:
        """Write the rest and close the file."""
        self._writer.kill()
        self.write()
        self._file.close()
