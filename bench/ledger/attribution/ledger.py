"""The ledger of requests: their spans come from their records and from Triton's trace, joined by
the ids of their calls on one clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.ledger.attribution.columns import Records, Spans, records_of
from bench.ledger.attribution.stored import Ints
from bench.ledger.attribution.sweep import Segment, segments, sweep, work
from bench.ledger.attribution.table import INDEX, Ledger
from bench.ledger.sources.triton import Part, parts_of
from pipelines.spans import OTHER, Request, Span

APPORTIONED = ("decode", "resize", "normalize")


def ledger(
    records: Records,
    trace: pd.DataFrame,
    *,
    stages: dict[str, str],
    apportion: dict[str, float] | None = None,
) -> Ledger:
    """Return the ledger of the recorded requests.

    `stages` names the stage of the time that each model computes. `apportion` gives the shares by
    which time of the stage `preprocess` is divided between the APPORTIONED stages.
    """
    parts, joined = _parts(records, trace, stages=stages)
    spans = Spans.joined([records.spans, _spans(parts)])
    times = sweep(spans, due_ns=records.due_ns, end_ns=records.end_ns)
    works = work(spans, requests=len(records.due_ns))
    works[:, INDEX[OTHER]] = times[:, INDEX[OTHER]]
    shares = apportion if times[:, INDEX["preprocess"]].any() else None
    if apportion:
        _apportion(times, apportion)
        _apportion(works, apportion)
    return Ledger(
        records.due_ns,
        records.end_ns,
        times,
        works,
        joined,
        records.image,
        APPORTIONED if shares else (),
        records.sizes,
        records.pipeline,
        records.pipelines,
    )


def _parts(
    records: Records, trace: pd.DataFrame, *, stages: dict[str, str]
) -> tuple[list[Part], npt.NDArray[np.bool_]]:
    count = len(records.due_ns)
    return parts_of(records.calls, records.own, trace, requests=count, stages=stages)


def _spans(parts: Iterable[Part]) -> Spans:
    found = []
    for part in parts:
        row, *times = part.columns()
        found.append(Spans(row, np.full(len(row), INDEX[part.stage], np.int64), *times))
    return Spans.joined(found)


def _apportion(times: Ints, shares: dict[str, float]) -> None:
    """Divide the time of each request's box in place."""
    box = times[:, INDEX["preprocess"]].copy()
    times[:, INDEX["preprocess"]] = 0
    for name, part in _divided(box, shares):
        times[:, INDEX[name]] += part


def _divided(box: Ints, shares: dict[str, float]) -> Iterator[tuple[str, Ints]]:
    """The parts of each box; rounding goes to the last stage, so no nanosecond is lost."""
    left = box.copy()
    for name in APPORTIONED[:-1]:
        part = np.minimum((box * shares[name]).astype(np.int64), left)
        yield name, part
        left -= part
    yield APPORTIONED[-1], left


@dataclass(frozen=True)
class Timeline:
    """A successful request closely: all its `spans`, those in Triton's trace too, and from due to
    end the `segments` that the ledger's times are the sums of. `joined` as in the ledger.
    """

    request: Request
    spans: list[Span]
    segments: list[Segment]
    joined: bool


def timelines(
    requests: Sequence[Request],
    trace: pd.DataFrame,
    *,
    stages: dict[str, str],
    apportion: dict[str, float] | None = None,
) -> list[Timeline]:
    """Return the requests, which succeeded, closely. The rest is as of `ledger`."""
    records = records_of(requests)
    parts, joined = _parts(records, trace, stages=stages)
    spans = Spans.joined([records.spans, _spans(parts)])
    told = [[*one.spans] for one in requests]
    for part in parts:
        for row, span in part.spans():
            told[row].append(span)
    swept = segments(spans, due_ns=records.due_ns, end_ns=records.end_ns)
    if apportion:
        swept = [_apportioned(one, apportion) for one in swept]
    return [*map(Timeline, requests, told, swept, joined.tolist())]


def _apportioned(found: Sequence[Segment], shares: dict[str, float]) -> list[Segment]:
    """Divide a request's box as `_apportion` does its time, one step after the other."""
    box = np.array([sum(end - start for stage, start, end in found if stage == "preprocess")])
    steps = [(name, int(part[0])) for name, part in _divided(box, shares)]
    bounds = [*itertools.pairwise(itertools.accumulate((ns for _, ns in steps), initial=0))]
    divided, before = list[Segment](), 0
    for one in found:
        if one.stage != "preprocess":
            divided.append(one)
            continue
        shift = one.start_ns - before
        for (name, _), (low, high) in zip(steps, bounds, strict=True):
            start, end = max(low + shift, one.start_ns), min(high + shift, one.end_ns)
            if start < end:
                divided.append(Segment(name, start, end))
        before += one.end_ns - one.start_ns
    return divided
