"""What a sweep of a chain's fan-out found: from the summaries of its runs to points and tables.

A point is one fan-out with one topology; its numbers are medians over its runs.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from bench.ledger import units
from bench.ledger.several import INVALID, each, median, shared
from bench.ledger.summary import Summary
from pipelines.brokers import BROKERS
from pipelines.errors import VisiontaxError

T = TypeVar("T")

SCHEMA = 1
BROKERLESS = ("fused", "direct")
ORDER = (*BROKERLESS, *BROKERS)
"""The topologies in the order in which they are shown."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep; `issues` are the codes of what is to be known about it."""

    run: str
    fanout: int
    topology: str
    valid: bool
    issues: list[str]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One fan-out with one topology: medians over its `runs`, valid when all of them are.

    `crops_per_s` is the throughput times the fan-out. The latencies, of an image and all its crops,
    are None when no request succeeded, `broker_share` also when the topology has no broker.
    """

    fanout: int
    topology: str
    runs: int
    valid: bool
    throughput_per_s: float
    crops_per_s: float
    mean_ms: float | None
    p99_ms: float | None
    broker_share: float | None


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench sweep --format json` prints: what all runs share, the points, and the runs.

    `crops`, `workers` and `batch` are None where no topology has a broker; `duration_s` is the
    runs' median.
    """

    schema: int
    chain: str
    preprocess: str
    place: str
    transport: str
    crops: str | None
    workers: tuple[int, int] | None
    batch: int | None
    users: int
    duration_s: float
    machine: str
    fanouts: list[int]
    topologies: list[str]
    points: list[Point]
    runs: list[Run]

    def point(self, fanout: int, topology: str) -> Point | None:
        """Return the point, or None when it was not measured."""
        found = (p for p in self.points if (p.fanout, p.topology) == (fanout, topology))
        return next(found, None)


def sweep_of(summaries: Sequence[Summary]) -> Sweep:
    """Return the sweep that these runs are, whatever their order; their images tell the fan-outs.

    Raises VisiontaxError when there are none, when they are not of one chain's own image sets, or
    when they differ in more than fan-out and topology.
    """
    by_point: dict[tuple[int, str], list[Summary]] = defaultdict(list)
    for summary in summaries:
        by_point[fanout_of(summary), str(summary.topology)].append(summary)
    order = {name: number for number, name in enumerate(ORDER)}
    return Sweep(
        schema=SCHEMA,
        chain=_shared("pipeline", (summary.pipeline for summary in summaries)),
        preprocess=_shared("preprocess", (summary.preprocess for summary in summaries)),
        place=_shared("place", (summary.place for summary in summaries)),
        transport=_shared("transport", (summary.transport for summary in summaries)),
        crops=_brokered("crops", (summary.crops for summary in summaries)),
        workers=_brokered("workers", (summary.workers for summary in summaries)),
        batch=_brokered("batch", (summary.batch for summary in summaries)),
        users=_shared("users", (summary.users for summary in summaries)),
        duration_s=statistics.median(summary.duration_s for summary in summaries),
        machine=_shared("machine", (summary.machine for summary in summaries)),
        fanouts=sorted({fanout for fanout, _ in by_point}),
        topologies=sorted(
            {name for _, name in by_point}, key=lambda name: (order.get(name, len(order)), name)
        ),
        points=[_point(*key, by_point[key]) for key in sorted(by_point)],
        runs=[
            Run(
                run=summary.run,
                fanout=fanout_of(summary),
                topology=str(summary.topology),
                valid=summary.valid,
                issues=[issue.code for issue in summary.issues],
            )
            for summary in summaries
        ],
    )


def facts(sweep: Sweep) -> list[str]:
    """Return what all runs share, and how many there are, one phrase each."""
    return [
        f"preprocess {sweep.preprocess}",
        f"place {sweep.place}",
        f"transport {sweep.transport}",
        *([f"crops {sweep.crops}"] if sweep.crops else []),
        *(["{} and {} workers".format(*sweep.workers)] if sweep.workers else []),
        *([f"batches of {sweep.batch} at most"] if sweep.batch else []),
        units.count(sweep.users, "user"),
        f"{units.duration(sweep.duration_s)} a run",
        f"{each(point.runs for point in sweep.points)} a point",
        sweep.machine,
    ]


def images_with(chain: str, fanout: int) -> str:
    """Return the image set in whose images the chain's first DNN finds `fanout` regions."""
    return f"{chain}-{fanout}"


def fanout_of(summary: Summary) -> int:
    """Return how many crops an image of the run has. Raises VisiontaxError when that is unknown."""
    found = re.fullmatch(rf"{re.escape(summary.pipeline)}-(\d+)", summary.images)
    if found is None or summary.topology is None:
        raise VisiontaxError(
            f"the run {summary.run} is of no sweep: its images do not tell the fan-out",
            hint="the images of a sweep are the sets faces-0 to faces-12 or text-0 to text-12",
        )
    return int(found[1])


def _shared(name: str, values: Iterable[T]) -> T:
    return shared(values, name=name, of="sweep")


def _brokered(name: str, values: Iterable[T | None]) -> T | None:
    """Return the one value that all runs with a broker have, None when there are none."""
    return _shared(name, set(values) - {None} or {None})


def _point(fanout: int, topology: str, runs: Sequence[Summary]) -> Point:
    latencies = [summary.latency_ms for summary in runs if summary.latency_ms]
    throughput = statistics.median(summary.throughput_per_s for summary in runs)
    return Point(
        fanout=fanout,
        topology=topology,
        runs=len(runs),
        valid=all(summary.valid for summary in runs),
        throughput_per_s=throughput,
        crops_per_s=throughput * fanout,
        mean_ms=median(latency.mean for latency in latencies),
        p99_ms=median(latency.p99 for latency in latencies),
        broker_share=median(s.broker_share for s in runs if s.broker_share is not None),
    )


@dataclass(frozen=True)
class Measure:
    """What a table and its picture show: `of` a point, None where that has none.

    It makes no sense of the topologies that it `skips`.
    """

    name: str
    title: str
    unit: str
    of: Callable[[Point], float | None]
    skips: tuple[str, ...] = ()
    note: str = ""


MEASURES = (
    Measure("throughput", "Throughput", "images/s", lambda point: point.throughput_per_s),
    Measure("latency", "Mean latency", "ms", lambda point: point.mean_ms),
    Measure(
        "broker",
        "Publish, broker and consume",
        "% of the latency",
        lambda point: None if point.broker_share is None else 100 * point.broker_share,
        skips=BROKERLESS,
        note="what waits in the broker also waits for a worker that is busy with another request",
    ),
)


@dataclass(frozen=True)
class Table:
    """One measure: a row a fan-out, a cell a topology; None is a point that was not measured."""

    measure: Measure
    topologies: list[str]
    rows: list[tuple[int, list[Point | None]]]

    def cell(self, point: Point | None) -> str:
        """Return the point's number in words, marked when it cannot be trusted."""
        value = None if point is None else self.measure.of(point)
        mark = INVALID if point is not None and value is not None and not point.valid else ""
        return units.number(value) + mark


def tables(sweep: Sweep) -> list[Table]:
    """Return a table of each measure that makes sense of one of the topologies."""
    found = []
    for measure in MEASURES:
        names = [name for name in sweep.topologies if name not in measure.skips]
        rows = [(fanout, [sweep.point(fanout, name) for name in names]) for fanout in sweep.fanouts]
        found += [Table(measure, names, rows)] if names else []
    return found
