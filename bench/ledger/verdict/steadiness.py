"""Whether a run was the same from its beginning to its end: its backlog and its latency.

Latencies follow each other too closely to be judged one by one, so all is of the medians of slices
of time. What a test finds is an issue only where it also matters: a latency by a quarter.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.ledger.attribution.stored import Ints
from bench.ledger.verdict.codes import Found

SLICE_NS = 100_000_000
"""The shortest slice."""

MOST_SLICES, FEWEST_SLICES = 60, 12
IN_A_SLICE = 8
"""So many requests a slice has on average, at least."""

CHANGE_AT_LEAST = 1.25
"""The latency after, divided by that before, or the other way round."""

SHORTEST = 3
"""Slices before a step, and after it."""

SURE_OF_STEP, SURE_OF_TREND, SURE_OF_BACKLOG = 6.0, 4.0, 4.5
"""Standard errors: see docs/results.md for how often a steady run has the issue by chance."""

WARMING_AT_MOST = 1 / 3
"""The part of the window in which a slower beginning is a warm-up."""

BACKLOG_SLICES = 20
BACKLOG_AT_LEAST, BACKLOG_FROM = 0.05, 10
"""Of the requests that were due, and how many."""

Floats = npt.NDArray[np.float64]


def of_latency(due_ns: Ints, end_ns: Ints, *, window_ns: tuple[int, int]) -> Found:
    """Say how the latency changed in the window, where it did.

    A step is sought by the greatest t of two means over all moments at which it may be (Worsley,
    J. Amer. Statist. Assoc. 74, 1979), a trend by Mann and Kendall's test. Both are divided by what
    the autocorrelation of the residuals widens them by, sqrt((1 + r) / (1 - r)) of an AR(1). Where
    both are found, that counts which leaves less.
    """
    at_s, medians = _course(due_ns, end_ns, window_ns=window_ns)
    if len(medians) < FEWEST_SLICES:
        return
    values = np.log(medians)
    step, trend = _step(values), _trend(values)
    found = [one for one in (step, trend) if one and one.ratio_is_large]
    if not found:
        return
    best = min(found, key=lambda one: one.left)
    before, after = best.levels
    said = f"from {before:.3g} to {after:.3g} ms"
    if best is trend:
        yield "DRIFT", f"the latency went {said} in the course of the run", False
        return
    then_s = float(at_s[best.at])
    if before > after and best.at <= WARMING_AT_MOST * len(values):
        yield "WARM_UP", f"the first {then_s:.1f} s were slower: the latency went {said}", False
    else:
        yield "CHANGE", f"after {then_s:.1f} s the latency went {said}", False


def _course(due_ns: Ints, end_ns: Ints, *, window_ns: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return of each slice of the window with a request its beginning, in seconds since that of the
    window, and the median latency in ms of those that were due in it; nothing of too few.
    """
    start, end = window_ns
    inside = (due_ns >= start) & (due_ns < end)
    at, latency = due_ns[inside] - start, (end_ns - due_ns)[inside] / 1e6
    slices = min(MOST_SLICES, (end - start) // SLICE_NS, len(at) // IN_A_SLICE)
    if slices < FEWEST_SLICES:
        return np.zeros(0), np.zeros(0)
    length = (end - start) / slices
    number = np.minimum((at / length).astype(int), slices - 1)
    filled = np.unique(number)
    medians = [float(np.median(latency[number == one])) for one in filled]
    return filled * length / 1e9, np.maximum(medians, 1e-6)


@dataclass(frozen=True)
class _Fit:
    """The levels before and after, in ms; the summed size of what is `left`; `at`: of a step."""

    levels: tuple[float, float]
    left: float
    at: int = 0

    @property
    def ratio_is_large(self) -> bool:
        low, high = sorted(self.levels)
        return high >= CHANGE_AT_LEAST * low


def _step(values: Floats) -> _Fit | None:
    """The step that the logarithms take, None where none is sure."""
    count, total = len(values), float(values.sum())
    first = np.arange(SHORTEST, count - SHORTEST + 1)
    before = np.cumsum(values)[first - 1] / first
    after = (total - before * first) / (count - first)
    weight = first * (count - first) / count
    within = float(((values - values.mean()) ** 2).sum()) - weight * (after - before) ** 2
    error = np.sqrt(np.maximum(within, 1e-12) / (count - 2) / weight)
    scores = np.abs(after - before) / error
    best = int(scores.argmax())
    at = int(first[best])
    low, high = float(np.median(values[:at])), float(np.median(values[at:]))
    left = values - np.where(np.arange(count) < at, low, high)
    if scores[best] / _widened(left) < SURE_OF_STEP:
        return None
    return _Fit((float(np.exp(low)), float(np.exp(high))), float(np.abs(left).sum()), at)


def _trend(values: Floats) -> _Fit | None:
    """The line that the logarithms follow, None where none is sure."""
    count = len(values)
    later, earlier = np.tril_indices(count, -1)
    score = np.sign(values[later] - values[earlier]).sum()
    spread = np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    slope = float(np.median((values[later] - values[earlier]) / (later - earlier)))
    line = slope * (np.arange(count) - (count - 1) / 2)
    line += float(np.median(values - line))
    left = values - line
    if abs(score) / spread / _widened(left) < SURE_OF_TREND:
        return None
    ends = float(np.exp(line[0])), float(np.exp(line[-1]))
    return _Fit(ends, float(np.abs(left).sum()))


def _ranks(values: Floats) -> Floats:
    """1 to count; equal ones share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[which]
    return ranks


def _widened(left: Floats) -> float:
    """By how much the autocorrelation of what is left widens a mean's standard error."""
    ranks = _ranks(left)
    ranks = ranks - ranks.mean()
    total = float(ranks @ ranks)
    r = float(ranks[1:] @ ranks[:-1]) / total if total else 0.0
    r = min(max(r, 0.0), 0.9)
    return float(np.sqrt((1 + r) / (1 - r)))


def of_backlog(due_ns: Ints, end_ns: Ints, *, window_ns: tuple[int, int]) -> Found:
    """Say whether an open loop's requests came faster than they were answered.

    By Student's t of what each slice of the window adds to those under way. A queue that is stable
    gives back what it takes, which makes the test keep silent even more often.
    """
    start, end = window_ns
    slices = min(BACKLOG_SLICES, (end - start) // SLICE_NS)
    if slices < FEWEST_SLICES:
        return
    edges = np.linspace(start, end, slices + 1)
    came, went = (np.histogram(times, edges)[0] for times in (due_ns, end_ns))
    added = came - went
    grown, total = int(added.sum()), int(came.sum())
    error = float(added.std(ddof=1)) * np.sqrt(slices)
    if grown > max(BACKLOG_FROM, BACKLOG_AT_LEAST * total) and grown > SURE_OF_BACKLOG * error:
        said = f"of {total} requests {grown} more were due than answered: the queue only grew"
        yield "BACKLOG", said, True
