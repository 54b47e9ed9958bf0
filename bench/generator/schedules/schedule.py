"""The schedule of a load: the numbers of requests, when each is due, and which of them are whose.

Every process that takes part knows the whole schedule and takes its share of it, so that nothing is
lost or asked twice when one joins or dies.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bench.generator.schedules import rates, replay
from bench.generator.schedules.arrivals import BLOCK, Arrivals, Floats
from bench.generator.schedules.frames import Frames
from bench.record.scenario import Settings


class Due(NamedTuple):
    """Request `number` is due `due_ns` after the start of the load.

    Of one that was due while nobody was free, `queued_ns` is since when it has waited.
    """

    number: int
    due_ns: int
    queued_ns: int | None = None


class Times(Protocol):
    """A schedule in blocks."""

    def times(self, block: int) -> Floats:
        """Return the seconds from the start of the requests from BLOCK * block on, ascending; fewer
        than BLOCK where it ends.
        """


class AtRate(Times):
    """Arrivals of a kind, at a rate."""

    def __init__(self, rate: str, kind: str, *, seed: int) -> None:
        """Raises VisiontaxError when either cannot be read."""
        self._rate, self._arrivals = rates.parse(rate), Arrivals(kind, seed=seed)

    def times(self, block: int) -> Floats:
        return self._rate.stretched(self._arrivals.times(block))


class Replayed(Times):
    """What was recorded; `images` names the image of each request, empty where it is not known."""

    def __init__(self, path: Path) -> None:
        """Raises VisiontaxError when the file cannot be read."""
        self._times, self.images = replay.read(path)

    def times(self, block: int) -> Floats:
        return self._times[BLOCK * block : BLOCK * (block + 1)]


def share(schedule: Times, *, part: int, parts: int, since_ns: int = 0) -> Iterator[Due]:
    """Yield the requests of one of so many parts that are due from a moment on.

    The parts of one `parts` are disjoint, and together all.
    """
    block = 0
    while True:
        times = schedule.times(block)
        due_ns = np.rint(times * 1e9).astype(np.int64)
        numbers = BLOCK * block + np.arange(len(due_ns))
        own = (numbers % parts == part) & (due_ns >= since_ns)
        for number, moment in zip(numbers[own].tolist(), due_ns[own].tolist(), strict=True):
            yield Due(number, moment)
        if len(times) < BLOCK:
            return
        block += 1


def count(schedule: Times, *, start_ns: int, end_ns: int) -> int:
    """Return how many requests are due from one moment after the start to before another."""
    due = share(schedule, part=0, parts=1, since_ns=start_ns)
    return sum(1 for _ in itertools.takewhile(lambda one: one.due_ns < end_ns, due))


def schedule_of(settings: Settings) -> Times | None:
    """Return the schedule that is asked for, None of a closed loop.

    Raises VisiontaxError when it cannot be read.
    """
    if settings.rate is not None:
        return AtRate(settings.rate, settings.arrivals, seed=settings.seed)
    if settings.replay is not None:
        return Replayed(Path(settings.replay))
    if settings.cameras is not None:
        return Frames(settings.cameras, seed=settings.seed)
    return None
