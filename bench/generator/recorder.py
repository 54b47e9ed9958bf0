"""Writes one generator process's requests to `requests-<pid>.jsonl`; where several hosts' files
come together, to `requests-<owner>.jsonl`.

While a request is in flight nothing is formatted: finished requests wait in memory and are written
a few times a second, so few at a time that none which is due meanwhile waits for that.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import gevent
import msgspec

from pipelines.spans import Request, Span
from pipelines.topologies.outcome import Outcome

INTERVAL_S = 0.25
AT_A_TIME = 16
"""So many take about 0.3 ms."""


class Finished(NamedTuple):
    """A request that is over; `outcome` is an empty one where there is an `error`.

    `image`: as in Request; `queued_ns` as in Due.
    """

    id: str
    pipeline: str
    outcome: Outcome
    due_ns: int
    start_ns: int
    end_ns: int
    error: str | None
    image: int | None
    queued_ns: int | None = None


class Recorder:
    """Appends requests to a file. `failed` is called once, when writing fails."""

    def __init__(self, path: Path, *, failed: Callable[[OSError], None]) -> None:
        self._failed = failed
        self.paused = False
        self._full = False
        self._waiting: list[Finished] = []
        self._encoder = msgspec.json.Encoder()
        self._file = path.open("ab", buffering=0)
        self._writer = gevent.spawn(self._write_now_and_then)

    def add(self, finished: Finished) -> None:
        """Keep a finished request, unless paused."""
        if not self.paused:
            self._waiting.append(finished)

    def _write_now_and_then(self) -> None:
        while True:
            gevent.sleep(INTERVAL_S)
            while self._waiting:  # more at a time where so many come that it would not keep up
                self._write(max(AT_A_TIME, len(self._waiting) // 64))
                gevent.sleep(0)

    def write(self) -> None:
        """Write what waits."""
        self._write(len(self._waiting))

    def _write(self, count: int) -> None:
        lines = [self._encoder.encode(self._request(one)) for one in self._waiting[:count]]
        del self._waiting[:count]
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
            pipeline=one.pipeline,
            due_ns=one.due_ns,
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            error=one.error,
            bytes_in=outcome.bytes_in,
            bytes_out=outcome.bytes_out,
            spans=[*_before(one), *trail.spans],
            calls=trail.calls,
            image=one.image,
        )

    def close(self) -> None:
        """Write the rest and close the file."""
        self._writer.kill()
        self.write()
        self._file.close()


def _before(one: Finished) -> Iterator[Span]:
    """From due to started: the generator is late only until a request waits for its turn."""
    began_ns = one.start_ns if one.queued_ns is None else one.queued_ns
    yield Span("schedule", one.due_ns, began_ns, "generator")
    if one.queued_ns is not None:
        yield Span("queue", one.queued_ns, one.start_ns, "generator")
