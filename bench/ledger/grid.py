"""What a grid of runs found: from their summaries to points, whose numbers are medians over runs.

A sweep is a grid of a chain's fan-outs and topologies; a matrix one of pipelines, images, places
and numbers of users, beside inference alone.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from bench.ledger.summary import Summary
from pipelines.brokers import BROKERS
from pipelines.errors import VisiontaxError

Key = TypeVar("Key")

SCHEMA = 1
BROKERLESS = ("fused", "direct")
ORDER = (*BROKERLESS, *BROKERS)
"""The topologies in the order in which they are shown."""

ALONE = "none"
"""The place of inference alone: nobody preprocesses."""

_MATRIX_ORDER = (
    *("classification", "segmentation", "detection", "depth"),
    *("tensor", "small", "medium", "large"),
    *(ALONE, "client", "server", "server-gpu"),
)
"""Of pipelines, images and places in the table; what is not named comes last."""


class SweepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep; `issues` are the codes of what is to be known about it."""

    run: str
    fanout: int
    topology: str
    valid: bool
    issues: list[str]


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
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
    points: list[SweepPoint]
    runs: list[SweepRun]

    def point(self, fanout: int, topology: str) -> SweepPoint | None:
        """Return the point, or None when it was not measured."""
        found = (p for p in self.points if (p.fanout, p.topology) == (fanout, topology))
        return next(found, None)


class MatrixPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One point: medians over its runs, whose folders are `folders`; valid when all of them are.

    Throughput is in images/s, latencies are from due to done. `not_inference_share` is of the
    latency, `of_alone` the throughput over that of inference alone with as many users: None where
    there is none. `generator_cpu_share` is of one core, of the load's busiest process.
    """

    pipeline: str
    images: str
    place: str
    users: int
    valid: bool
    images_per_s: float
    mean_ms: float | None
    p99_ms: float | None
    not_inference_share: float | None
    of_alone: float | None
    generator_cpu_share: float | None
    folders: list[str]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """A whole matrix: what its runs share, the points, and the summary of each run.

    `note` is what its user had to say about the conditions; `duration_s` is the runs' median.
    """

    schema: int
    preprocess: str
    transport: str
    device: str
    duration_s: float
    machine: str
    note: str
    points: list[MatrixPoint]
    runs: list[Summary]


def sweep_of(summaries: Sequence[Summary]) -> Sweep:
    """Return the sweep that these runs are, whatever their order; their images tell the fan-outs.

    Raises VisiontaxError when there are none, when they are not of one chain's own image sets, or
    when they differ in more than fan-out and topology.
    """
    by_point = _by(lambda run: (fanout_of(run), str(run.topology)), summaries)
    order = {name: number for number, name in enumerate(ORDER)}
    return Sweep(
        schema=SCHEMA,
        chain=_shared("pipeline", summaries, of="sweep"),
        **{
            name: _shared(name, summaries, of="sweep")
            for name in ("preprocess", "place", "transport", "users", "machine")
        },
        **{
            name: _shared(name, summaries, of="sweep", skip_none=True)
            for name in ("crops", "workers", "batch")
        },
        duration_s=statistics.median(run.duration_s for run in summaries),
        fanouts=sorted({fanout for fanout, _ in by_point}),
        topologies=sorted(
            {name for _, name in by_point}, key=lambda name: (order.get(name, len(order)), name)
        ),
        points=[_sweep_point(*key, by_point[key]) for key in sorted(by_point)],
        runs=[
            SweepRun(
                run=run.run,
                fanout=fanout_of(run),
                topology=str(run.topology),
                valid=run.valid,
                issues=[issue.code for issue in run.issues],
            )
            for run in summaries
        ],
    )


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


def matrix_of(summaries: Sequence[Summary], *, device: str, note: str = "") -> Matrix:
    """Return the matrix that these runs are, whatever their order.

    Raises VisiontaxError when there are none, or when they differ in what a matrix shares.
    """
    by_point = _by(lambda run: (run.pipeline, run.users, run.images, run.place), summaries)
    by_alone = _by(
        lambda run: (run.pipeline, run.users), [run for run in summaries if run.place == ALONE]
    )
    served = [run for run in summaries if run.place != ALONE] or summaries
    return Matrix(
        schema=SCHEMA,
        preprocess=_shared("preprocess", served, of="matrix"),
        transport=_shared("transport", summaries, of="matrix"),
        machine=_shared("machine", summaries, of="matrix"),
        device=device,
        duration_s=statistics.median(run.duration_s for run in summaries),
        note=note,
        points=[
            _matrix_point(by_point[key], alone=by_alone.get(key[:2], []))
            for key in sorted(by_point, key=lambda key: [_rank(part) for part in key])
        ],
        runs=list(summaries),
    )


def _rank(part: str | int) -> tuple[int, str]:
    """What to sort a part of a matrix point's key by."""
    if isinstance(part, int):
        return part, ""
    return (_MATRIX_ORDER.index(part) if part in _MATRIX_ORDER else len(_MATRIX_ORDER)), part


def _by(key: Callable[[Summary], Key], runs: Iterable[Summary]) -> dict[Key, list[Summary]]:
    found: dict[Key, list[Summary]] = defaultdict(list)
    for run in runs:
        found[key(run)].append(run)
    return dict(found)


def _shared(name: str, runs: Iterable[Summary], *, of: str, skip_none: bool = False) -> Any:
    """Return the one value that all runs have; with `skip_none` None counts only alone.

    Raises VisiontaxError, saying that the runs are no `of`, when they have several or none.
    """
    values = {getattr(run, name) for run in runs}
    distinct = values - {None} or {None} if skip_none else values
    if len(distinct) != 1:
        listed = ", ".join(sorted(map(str, distinct))) or "there are none"
        raise VisiontaxError(f"these runs are no {of}: {name} is not one: {listed}")
    return distinct.pop()


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are known, None without one."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _common(runs: Sequence[Summary]) -> dict[str, Any]:
    """What every point says of its runs."""
    latencies = [run.latency_ms for run in runs if run.latency_ms]
    return {
        "valid": all(run.valid for run in runs),
        "mean_ms": _median(latency.mean for latency in latencies),
        "p99_ms": _median(latency.p99 for latency in latencies),
    }


def _sweep_point(fanout: int, topology: str, runs: Sequence[Summary]) -> SweepPoint:
    throughput = statistics.median(run.throughput_per_s for run in runs)
    return SweepPoint(
        fanout=fanout,
        topology=topology,
        runs=len(runs),
        throughput_per_s=throughput,
        crops_per_s=throughput * fanout,
        broker_share=_median(run.broker_share for run in runs),
        **_common(runs),
    )


def _matrix_point(runs: Sequence[Summary], *, alone: Sequence[Summary]) -> MatrixPoint:
    first = runs[0]
    throughput = statistics.median(run.throughput_per_s for run in runs)
    best = _median(run.throughput_per_s for run in alone)
    return MatrixPoint(
        pipeline=first.pipeline,
        images=first.images,
        place=first.place,
        users=first.users,
        images_per_s=throughput,
        not_inference_share=_median(run.non_inference_share for run in runs),
        of_alone=throughput / best if best else None,
        generator_cpu_share=_median(run.generator_cpu_share for run in runs),
        folders=[run.run for run in runs],
        **_common(runs),
    )
