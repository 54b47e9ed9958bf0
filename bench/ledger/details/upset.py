"""What happened to a run at a moment: a process that came or went, a clock that was set."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bench.ledger.verdict.surroundings import ROUND_NS, STEP_S
from bench.record.records import MACHINE, MONITOR, Sample

AT_MOST = 12
"""More are not told apart in a picture."""


class Upset(NamedTuple):
    """What happened, and when: in seconds since the window of measurement began."""

    at_s: float
    said: str


def upsets(samples: Sequence[Sample], *, window_ns: tuple[int, int]) -> list[Upset]:
    """Return what happened in the window, the first of it where it is much."""
    start, end = window_ns
    found = [*_processes(samples, start, end), *_clock(samples)]
    told = [Upset((at - start) / 1e9, said) for at, said in found if start < at < end]
    return sorted(told)[:AT_MOST]


def _processes(samples: Sequence[Sample], start: int, end: int) -> list[tuple[int, str]]:
    by_process = defaultdict[tuple[str, int], list[int]](list)
    for one in samples:
        if one.role not in (MACHINE, MONITOR):
            by_process[one.role, one.pid].append(one.time_ns)
    found = []
    for (role, _), times in by_process.items():
        if times[0] > start + ROUND_NS:
            found.append((times[0], f"a process of the {role} started"))
        if times[-1] < end - 2 * ROUND_NS:
            found.append((times[-1], f"a process of the {role} ended"))
    return found


def _clock(samples: Sequence[Sample]) -> list[tuple[int, str]]:
    """Where the distance between the two clocks changed."""
    told = [(one.time_ns, one.unix_ns - one.time_ns) for one in samples if one.unix_ns is not None]
    return [
        (at, f"the clock was set by {(now - before) / 1e9:+.1f} s")
        for (_, before), (at, now) in itertools.pairwise(told)
        if abs(now - before) > STEP_S * 1e9
    ]
