"""A run second by second: what was asked and answered, what was in flight, and what it took."""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.ledger.attribution.stored import Ints
from bench.ledger.details.upset import Upset, upsets
from bench.ledger.reading import Reading
from bench.ledger.sources.cpu import ROLES
from bench.record import records
from bench.record.files import read_lines
from bench.record.records import MACHINE, Crowd, Sample, Turn

MOST_STEPS = 300
STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)

Floats = npt.NDArray[np.float64]
Values = list[float | None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """A run in steps of `step_s`, each from `at_s` on, in seconds since its window of measurement
    began, which is `window_s` long; the lists have a value each, None where there is none.

    Rates are per second: of requests by when they were `due`, `answered`, and by when those that
    `failed` were due; `p50_ms` and `most_ms` are of the latency of those that were due in the step.
    `in_flight` is the mean, and `crowded` the most that were counted at once. `cores` and
    `memory_bytes` are by role; what other guests of the host took is `stolen`. All three are empty
    where a run has no such records.
    """

    step_s: int
    at_s: list[float]
    window_s: float
    paused_s: list[tuple[float, float]]
    due: Values
    answered: Values
    failed: Values
    p50_ms: Values
    most_ms: Values
    in_flight: Values
    crowded: Values
    cores: dict[str, Values]
    memory_bytes: dict[str, Values]
    stolen: Values
    upsets: list[Upset]


def course(run: Reading, failed_due_ns: Sequence[int] = ()) -> Course | None:
    """Return the course of a run, None of one without a request that succeeded.

    `failed_due_ns` are when the others were due.
    """
    ledger = run.ledger
    if not len(ledger.due_ns):
        return None
    start, end = run.window_ns
    failed = np.array(failed_due_ns, np.int64)
    due = np.concatenate([ledger.due_ns, failed])
    first, last = int(min(due.min(), start)), int(max(ledger.end_ns.max(), end))
    step_s = _step_s((last - first) / 1e9)
    step = step_s * 1_000_000_000
    before, after = -((start - first) // -step), -((last - start) // -step)
    edges = start + step * np.arange(-before, max(after, 1) + 1)
    p50_ms, most_ms = _latencies(ledger.due_ns, ledger.latency_ns, edges)
    in_flight, crowded = _crowd(records.read_crowds(run.folder), edges)
    samples = records.read_samples(run.folder)
    return Course(
        step_s=step_s,
        at_s=((edges[:-1] - start) / 1e9).tolist(),
        window_s=(end - start) / 1e9,
        paused_s=[((a - start) / 1e9, (b - start) / 1e9) for a, b in _pauses(run)],
        due=_rates(due, edges, (first, last)),
        answered=_rates(ledger.end_ns, edges, (first, last)),
        failed=_rates(failed, edges, (first, last)),
        p50_ms=p50_ms,
        most_ms=most_ms,
        in_flight=in_flight,
        crowded=crowded,
        cores=_by_role(samples, edges, _cores, (*ROLES, MACHINE)),
        memory_bytes=_by_role(samples, edges, _memory, ROLES),
        stolen=_cores([s for s in samples if s.role == MACHINE], edges, of="steal_s"),
        upsets=upsets(samples, window_ns=(start, end)),
    )


def _step_s(span_s: float) -> int:
    """The shortest step of which there are few enough, with one to spare at each end."""
    whole = [one for one in STEPS_S if span_s / one + 2 <= MOST_STEPS]
    return whole[0] if whole else int(span_s / (MOST_STEPS - 2)) + 1


def _rates(times: Ints, edges: Ints, reach: tuple[int, int]) -> Values:
    """How many there were a second, of a step at an end only by the part of it that was run."""
    counts = np.histogram(times, edges)[0]
    took = np.minimum(edges[1:], reach[1]) - np.maximum(edges[:-1], reach[0])
    step = edges[1] - edges[0]
    return [
        float(count) / (part / 1e9) if part >= step / 4 else None
        for count, part in zip(counts, took.tolist(), strict=True)
    ]


def _latencies(due: Ints, latency: Ints, edges: Ints) -> tuple[Values, Values]:
    """The median and the largest of those that were due in each step."""
    place = (due - edges[0]) // (edges[1] - edges[0])
    order = np.lexsort((latency, place))
    bounds = np.searchsorted(place[order], np.arange(len(edges)))
    median, most = list[float | None](), list[float | None]()
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        some = low < high
        middle = latency[order[[(low + high - 1) // 2, (low + high) // 2]]] if some else None
        median.append(None if middle is None else float(middle.mean()) / 1e6)
        most.append(float(latency[order[high - 1]]) / 1e6 if some else None)
    return median, most


def _crowd(crowds: Sequence[Sequence[Crowd]], edges: Ints) -> tuple[Values, Values]:
    """The mean by the summed time in flight, and the most at once by what each process last said;
    where all of them were counting.
    """
    told = [crowd for crowd in crowds if crowd]
    if not told:
        return [], []
    at = [np.array([one.time_ns for one in crowd]) for crowd in told]
    first, last = max(int(one[0]) for one in at), min(int(one[-1]) for one in at)
    low, high = np.clip(edges[:-1], first, last), np.clip(edges[1:], first, last)
    spent: Floats = np.zeros(len(low))
    step = edges[1] - edges[0]
    for when, crowd in zip(at, told, strict=True):
        sums = np.array([one.spent_ns for one in crowd], float)
        base = edges[0]
        spent += np.interp(high - base, when - base, sums) - np.interp(
            low - base, when - base, sums
        )
    moments = np.unique(np.concatenate(at))
    counts = np.zeros(len(moments), np.int64)
    for when, crowd in zip(at, told, strict=True):
        there = np.searchsorted(when, moments, side="right") - 1
        numbers = np.array([one.requests for one in crowd])
        counts += np.where(there >= 0, numbers[np.maximum(there, 0)], 0)
    bounds = np.searchsorted(moments, edges)
    return (
        [float(s / t) if t > step / 4 else None for s, t in zip(spent, high - low, strict=True)],
        [int(counts[a:b].max()) if a < b else None for a, b in itertools.pairwise(bounds)],
    )


def _by_role(
    samples: Sequence[Sample],
    edges: Ints,
    of: Callable[[Sequence[Sample], Ints], Values],
    roles: Sequence[str],
) -> dict[str, Values]:
    found = {role: of([one for one in samples if one.role == role], edges) for role in roles}
    return {role: values for role, values in found.items() if any(values)}


def _processes(samples: Sequence[Sample]) -> list[list[Sample]]:
    found = defaultdict[int, list[Sample]](list)
    for one in samples:
        found[one.pid].append(one)
    return [taken for taken in found.values() if len(taken) > 1]


def _cores(samples: Sequence[Sample], edges: Ints, *, of: str = "cpu_s") -> Values:
    """CPU time per time: of each process between its samples, which lie a second apart."""
    taken: Floats = np.zeros(len(edges) - 1)
    seen = np.zeros(len(edges) - 1, bool)
    for process in _processes(samples):
        at = np.array([one.time_ns for one in process])
        used = np.array([getattr(one, of) or 0.0 for one in process], float)
        taken += np.diff(np.interp(edges - edges[0], at - edges[0], used))
        seen |= (edges[1:] <= at[-1]) & (edges[:-1] >= at[0])
    each = taken / ((edges[1] - edges[0]) / 1e9)
    return [float(one) if there else None for one, there in zip(each, seen, strict=True)]


def _memory(samples: Sequence[Sample], edges: Ints) -> Values:
    """What each process last had before the end of a step, summed, of those that lived to it."""
    held: list[float | None] = [None] * (len(edges) - 1)
    for process in _processes(samples):
        at = [one.time_ns for one in process]
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            last = bisect.bisect_left(at, high) - 1
            lived = last >= 0 and (at[last] >= low or last + 1 < len(at))
            if lived and (has := process[last].memory_bytes) is not None:
                held[place] = (held[place] or 0.0) + has
    return held


def _pauses(run: Reading) -> list[tuple[int, int]]:
    """When the load waited for its turn within the window."""
    start, end = run.window_ns
    turns = read_lines(run.folder / records.TURNS, Turn)
    ends = [*(turn.time_ns for turn in turns[1:]), end][: len(turns)]
    return [
        (max(turn.time_ns, start), min(until, end))
        for turn, until in zip(turns, ends, strict=True)
        if not turn.running and until > start and turn.time_ns < end
    ]
