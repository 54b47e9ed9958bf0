"""Which part of a schedule each worker of a distributed load has, from its begin on and whenever
one joins or is lost.

The master decides from which moment after the start the new division holds, so that no request is
lost or asked twice by those who live.
"""

import time
from typing import Any, NamedTuple

import gevent
from locust.runners import STATE_MISSING, STATE_STOPPED, MasterRunner, WorkerRunner

from bench.generator.dispatcher import Dispatcher

MESSAGE = "visiontax-division"
LOOK_S = 0.5
AHEAD_NS = 1_000_000_000
"""So long before it holds a new division is told."""

SILENT_S = 3.0
"""A worker is lost that has not been heard of for so long; each tells once a second."""


def parts_of_clients(runner: MasterRunner) -> dict[int, int]:
    """Return the part of each worker that is there, by its index."""
    gone = (STATE_MISSING, STATE_STOPPED)
    there = [one for one in runner.clients.all if one.state not in gone]
    indexes = sorted(
        runner.get_worker_index(one.id)  # type: ignore[no-untyped-call]
        for one in there
    )
    return {index: part for part, index in enumerate(indexes)}


class Division:
    """The master's: it looks who is there, and tells all of them when that changes."""

    def __init__(self, runner: MasterRunner, parts: dict[int, int]) -> None:
        """The load starts now, with these parts."""
        self._runner, self._parts = runner, parts
        self._start_ns = time.monotonic_ns()
        self._heard_s: dict[str, float] = {}
        self._lost: set[str] = set()
        self._looking = gevent.spawn(self._look)

    def _look(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            self._lost |= {one.id for one in self._runner.clients.missing}
            now = parts_of_clients(self._runner)
            if now and now != self._parts:
                self._parts = now
                elapsed_ns = time.monotonic_ns() - self._start_ns
                told = {"parts": {f"{index}": part for index, part in now.items()}}
                times = {"elapsed_ns": elapsed_ns, "from_ns": elapsed_ns + AHEAD_NS}
                self._runner.send_message(MESSAGE, told | times)

    def heard(self, client: str) -> None:
        """That worker lives."""
        self._heard_s[client] = time.monotonic()

    def end(self) -> int:
        """Look no more; how many workers were lost in between, and of how many nothing is heard."""
        self._looking.kill()
        over_s = time.monotonic()
        while silent := self._silent(over_s):
            if time.monotonic() - over_s > SILENT_S:
                break
            gevent.sleep(LOOK_S / 10)
        return len(self._lost | silent)

    def _silent(self, since_s: float) -> set[str]:
        heard = self._heard_s
        return {one for one in self._runner.clients if heard.get(one, 0.0) < since_s}


class Told(NamedTuple):
    """A division as the master tells it: which part the worker has, of how many."""

    part: int
    parts: int
    elapsed_ns: int = 0
    from_ns: int = 0

    def obey(self, dispatcher: Dispatcher, *, now_ns: int) -> None:
        """Take that part, from that moment on."""
        mine = {"part": self.part, "parts": self.parts, "from_ns": self.from_ns}
        if dispatcher.begun:
            dispatcher.divide(**mine)
        else:
            dispatcher.begin(now_ns - self.elapsed_ns, **mine)


def told(runner: WorkerRunner, data: dict[str, Any]) -> Told | None:
    """Return what a message says to this worker, None where it has no part."""
    part = data["parts"].get(f"{runner.worker_index}")
    if part is None:
        return None
    return Told(part, len(data["parts"]), data["elapsed_ns"], data["from_ns"])
