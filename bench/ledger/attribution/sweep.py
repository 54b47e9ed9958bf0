"""The sweep over a request's spans that overlap: each instant goes to the active stage of highest
priority, and what no span covers to `other`. Therefore a request's times are non-negative, and
their sum is exactly `end_ns - due_ns`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.ledger.attribution.columns import Spans
from bench.ledger.attribution.stored import Ints
from bench.ledger.attribution.table import COLUMNS, INDEX
from pipelines.spans import OTHER, STAGES

_BY_RANK = [*sorted(STAGES, key=lambda name: -STAGES[name].priority), OTHER]
_RANK = np.array([_BY_RANK.index(name) for name in COLUMNS])
_BITS = 63
"""Of a word of counters."""


class Segment(NamedTuple):
    """A time of a request that the ledger gives to one stage."""

    stage: str
    start_ns: int
    end_ns: int


def sweep(spans: Spans, *, due_ns: Ints, end_ns: Ints) -> Ints:
    """Return the critical-path time, [requests, COLUMNS], of requests whose spans these are."""
    request, stage, start, end = _swept(spans, due=due_ns, end=end_ns)
    # Sums of nanoseconds stay far below 2**53, so the floating-point weights are exact.
    return _summed(end - start, request=request, stage=stage, requests=len(due_ns))


def segments(spans: Spans, *, due_ns: Ints, end_ns: Ints) -> list[list[Segment]]:
    """Return what `sweep` sums: of each request, from due to end, whose stage which time is."""
    found: list[list[Segment]] = [[] for _ in due_ns]
    swept = _swept(spans, due=due_ns, end=end_ns)
    for request, stage, start, end in zip(*(one.tolist() for one in swept), strict=True):
        whole, name = found[request], COLUMNS[stage]
        if start < end and whole and whole[-1].stage == name:
            whole[-1] = whole[-1]._replace(end_ns=end)
        elif start < end:
            whole.append(Segment(name, start, end))
    return found


def work(spans: Spans, *, requests: int) -> Ints:
    """Return the summed durations of the spans, each divided by its items, [requests, COLUMNS]."""
    each = np.maximum(spans.end - spans.start, 0) / spans.items
    return _summed(each, request=spans.request, stage=spans.stage, requests=requests)


def _summed(values: npt.NDArray[Any], *, request: Ints, stage: Ints, requests: int) -> Ints:
    shape = (requests, len(COLUMNS))
    flat = np.bincount(request * shape[1] + stage, weights=values, minlength=requests * shape[1])
    return flat.astype(np.int64).reshape(shape)


def _swept(spans: Spans, *, due: Ints, end: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the segments: row of the request, column of the stage, start and end; those of a
    request follow each other, and some take no time.
    """
    spans = spans.select(spans.critical > 0)
    count, other = len(due), INDEX[OTHER]
    # `other` is a span over the whole request that every other stage outranks.
    request = np.concatenate([spans.request, np.arange(count)])
    stage = np.concatenate([spans.stage, np.full(count, other)])
    start = np.clip(np.concatenate([spans.start, due]), due[request], end[request])
    stop = np.clip(np.concatenate([spans.end, end]), start, end[request])
    at, whose = np.concatenate([start, stop]), np.tile(request, 2)
    order = _order(whose, at - due[whose], longest=int((end - due).max(initial=0)))
    at, whose = at[order], whose[order]
    until = np.where(whose[1:] == whose[:-1], at[1:], at[:-1])
    active = _first_active(_RANK[stage], order, most=int(np.bincount(request).max(initial=0)))
    return whose[:-1], np.argsort(_RANK)[active[:-1]], at[:-1], until


def _order(whose: Ints, since_due: Ints, *, longest: int) -> Ints:
    """By request, then by time: of both in one number where that is large enough."""
    bits = longest.bit_length()
    if bits + len(whose).bit_length() > _BITS:
        return np.lexsort((since_due, whose))
    return np.argsort((whose << bits) + since_due)


def _first_active(ranks: Ints, order: Ints, *, most: int) -> Ints:
    """Return the first rank that is active after each of the ordered events; unordered, the first
    half are beginnings of spans, the other half their ends. At `most` so many are active at once.

    Those of each rank are counted in bits of their own of a word, many ranks in one.
    """
    bits = max(1, most.bit_length())
    together = _BITS // bits
    present, place = np.unique(ranks, return_inverse=True)
    found = np.full(len(order), len(present) - 1)
    for first in range(0, len(present), together)[::-1]:
        inside = (place >= first) & (place < first + together)
        one = np.where(inside, 1 << bits * np.where(inside, place - first, 0), 0)
        active = np.cumsum(np.concatenate([one, -one])[order])
        lowest = np.bitwise_count((active & -active) - 1) // bits
        found = np.where(active > 0, first + lowest, found)
    # Events of one instant are in any order, and until the last of them no counter is right.
    first_active: Ints = present[np.minimum(found, len(present) - 1)]
    return first_active
