"""Open loop: hands each request to a user that is idle when it is due, whatever the server does.

Its users are as many as may be in flight. Where all of them are busy, a request is dropped, and
counted so, or it queues; whatever waits, its latency counts from when it was due.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

import gevent
from gevent.event import AsyncResult

from bench.generator.schedules.schedule import Due, Times, share
from bench.generator.turns import Turns
from bench.generator.watching.in_flight import InFlight


class Dispatcher:
    """The requests of one process. Nothing is due before `begin`."""

    def __init__(
        self,
        schedule: Times,
        *,
        turns: Turns,
        dropped: Callable[[Due], None],
        late: str = "drop",
        cameras: int = 0,
        in_flight: InFlight | None = None,
    ) -> None:
        """`dropped` is called of each request that nobody asks; `in_flight` counts the others.

        Of the frames of `cameras` a late one is dropped only when its successor is due.
        """
        self._schedule, self._turns, self._dropped = schedule, turns, dropped
        self._in_flight = in_flight
        self._queues, self._cameras = late == "queue", 0 if late == "queue" else cameras
        self._idle: deque[AsyncResult[Due | None]] = deque()
        self._waiting: deque[Due] = deque()
        self._divisions: deque[tuple[int, int, int]] = deque()
        self.over = False
        self._start_ns = 0
        self.begun = False

    def begin(self, start_ns: int, *, part: int = 0, parts: int = 1, from_ns: int = 0) -> None:
        """The load started at that moment; this process takes its part of what is due from so long
        after it on.
        """
        self.begun = True
        self._start_ns = start_ns
        self._divisions.append((from_ns, part, parts))
        gevent.spawn(self._run)

    def divide(self, *, part: int, parts: int, from_ns: int) -> None:
        """Take another part of what is due so long after the start, and later."""
        self._divisions.append((from_ns, part, parts))

    def take(self) -> Due | None:
        """Return what an idle user is to ask, once it is due; None when nothing more is.

        `due_ns` is then a moment of the monotonic clock.
        """
        if self._waiting:
            return self._waiting.popleft()
        if self.over:
            return None
        mine: AsyncResult[Due | None] = AsyncResult()
        self._idle.append(mine)
        try:
            given: Due | None = mine.get()
        except BaseException:
            with contextlib.suppress(ValueError):
                self._idle.remove(mine)
            raise
        return given

    def end(self) -> None:
        """Nothing more is due; what waits already is still to be asked."""
        self.over = True
        while self._idle:
            self._idle.popleft().set(None)

    def give_up(self) -> None:
        """Drop what nobody has asked until now."""
        while self._waiting:
            self._lose(self._waiting.popleft())

    def _mine(self) -> Iterator[Due]:
        """What is due, by the division of its time."""
        while self._divisions:
            since_ns, part, parts = self._divisions.popleft()
            for due in share(self._schedule, part=part, parts=parts, since_ns=since_ns):
                if self._divisions and due.due_ns >= self._divisions[0][0]:
                    break
                yield due

    def _run(self) -> None:
        for due in self._mine():
            self._sleep(due.due_ns)
            if self.over:
                return
            self._hand(Due(due.number, self._start_ns + due.due_ns))

    def _sleep(self, due_ns: int) -> None:
        """Wait until so long after the start, without the time for which the load is paused."""
        while not self.over:
            if not self._turns.running:
                paused_ns = time.monotonic_ns()
                self._turns.wait()
                self._start_ns += time.monotonic_ns() - paused_ns
            left_ns = self._start_ns + due_ns - time.monotonic_ns()
            gevent.sleep(max(left_ns, 0) / 1e9)
            if left_ns <= 0:
                return

    def _hand(self, due: Due) -> None:
        if self._idle:
            self._count(due)
            self._idle.popleft().set(due)
        elif self._queues:
            self._wait(due)
        elif self._cameras:
            camera = due.number % self._cameras
            old = [one for one in self._waiting if one.number % self._cameras == camera]
            for one in old:
                self._waiting.remove(one)
                self._lose(one)
            self._wait(due)
        else:
            self._dropped(due)

    def _wait(self, due: Due) -> None:
        self._count(due)
        self._waiting.append(due._replace(queued_ns=time.monotonic_ns()))

    def _count(self, due: Due) -> None:
        if self._in_flight:
            self._in_flight.begin(due.due_ns)

    def _lose(self, due: Due) -> None:
        """Drop what had been waiting."""
        if self._in_flight:
            self._in_flight.end(due.due_ns)
        self._dropped(due)
