"""A load that takes turns with another one: SIGUSR2 pauses it, and lets it go on.

Each change is appended to the run's `turns.jsonl` once it has taken effect: a paused load has no
request in flight, and all that it recorded is on the disk.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from gevent.event import Event

from bench.record.records import TURNS, Turn


class Turns:
    """Whether it is this load's turn. Its users ask before each request.

    `rested` is called when the last request in flight has ended. Nothing is written before the
    first `say` or `toggle`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        paused: bool = False,
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._rested = folder, rested
        self._go, self._in_flight, self._over = Event(), 0, False
        self.since_ns = time.monotonic_ns()
        self.running = not paused
        if self.running:
            self._go.set()

    def wait(self) -> bool:
        """Return when it is this load's turn, False when the run is over instead."""
        while not self.running and not self._over:
            self._go.wait()
        return self.running

    def enter(self) -> None:
        """A request begins."""
        self._in_flight += 1

    def leave(self) -> None:
        """A request has ended, whatever came of it."""
        self._in_flight -= 1
        if not self.running and not self._in_flight:
            self.say()

    def toggle(self) -> None:
        """Pause, or go on from this moment."""
        self.running = not self.running
        if self.running:
            self.since_ns = time.monotonic_ns()
            self._go.set()
            self.say()
            return
        self._go.clear()
        if not self._in_flight:
            self.say()

    def end(self) -> None:
        """The run is over: nobody needs to wait any longer."""
        self._over = True
        self._go.set()

    def say(self) -> None:
        """Write down what is so."""
        if not self.running:
            self._rested()
        if self._folder and not self._over:
            now = self.since_ns if self.running else time.monotonic_ns()
            line = msgspec.json.encode(Turn(now, self.running)) + b"\n"
            with (self._folder / TURNS).open("ab", buffering=0) as file:
                file.write(line)
