"""What a matrix of runs found: from their summaries to points, beside inference alone.

A point is one pipeline, image set, place and number of users; its numbers are medians over its
runs.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from bench.ledger import units
from bench.ledger.several import each, median, shared
from bench.ledger.summary import Summary

T = TypeVar("T")

SCHEMA = 1
ALONE = "none"
"""The place of inference alone: nobody preprocesses."""

_ORDER = (
    *("classification", "segmentation", "detection", "depth"),
    *("tensor", "small", "medium", "large"),
    *(ALONE, "client", "server", "server-gpu"),
)
"""Of pipelines, images and places in the table; what is not named comes last."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
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
    points: list[Point]
    runs: list[Summary]


def matrix_of(summaries: Sequence[Summary], *, device: str, note: str = "") -> Matrix:
    """Return the matrix that these runs are, whatever their order.

    Raises VisiontaxError when there are none, or when they differ in what a matrix shares.
    """
    by_point: dict[tuple[str, int, str, str], list[Summary]] = defaultdict(list)
    for summary in summaries:
        key = (summary.pipeline, summary.users, summary.images, summary.place)
        by_point[key].append(summary)
    served = [summary for summary in summaries if summary.place != ALONE] or summaries
    return Matrix(
        schema=SCHEMA,
        preprocess=_shared("preprocess", (summary.preprocess for summary in served)),
        transport=_shared("transport", (summary.transport for summary in summaries)),
        device=device,
        duration_s=statistics.median(summary.duration_s for summary in summaries),
        machine=_shared("machine", (summary.machine for summary in summaries)),
        note=note,
        points=[
            _point(by_point[key], alone=_alone(by_point, key))
            for key in sorted(by_point, key=lambda key: [_rank(part) for part in key])
        ],
        runs=list(summaries),
    )


def label(pipeline: str) -> str:
    """Return the pipeline's name as a table shows it."""
    return f"{pipeline} (untrained)" if pipeline == "depth" else pipeline


def facts(matrix: Matrix) -> list[str]:
    """Return what all runs share, and how many there are, one phrase each."""
    return [
        f"preprocess {matrix.preprocess}",
        f"transport {matrix.transport}",
        f"DNNs on {matrix.device}",
        f"{each(len(point.folders) for point in matrix.points)} a row",
        f"{units.duration(matrix.duration_s)} a run",
        matrix.machine,
    ]


def _rank(part: str | int) -> tuple[int, str]:
    """What to sort a part of a point's key by."""
    if isinstance(part, int):
        return part, ""
    return (_ORDER.index(part) if part in _ORDER else len(_ORDER)), part


def _alone(
    by_point: dict[tuple[str, int, str, str], list[Summary]], key: tuple[str, int, str, str]
) -> list[Summary]:
    """The runs of inference alone of the same pipeline with as many users."""
    return [
        one
        for other in by_point
        if other[:2] == key[:2]
        for one in by_point[other]
        if one.place == ALONE
    ]


def _point(runs: Sequence[Summary], *, alone: Sequence[Summary]) -> Point:
    first = runs[0]
    latencies = [run.latency_ms for run in runs if run.latency_ms]
    throughput = statistics.median(run.throughput_per_s for run in runs)
    best = median(run.throughput_per_s for run in alone)
    return Point(
        pipeline=first.pipeline,
        images=first.images,
        place=first.place,
        users=first.users,
        valid=all(run.valid for run in runs),
        images_per_s=throughput,
        mean_ms=median(latency.mean for latency in latencies),
        p99_ms=median(latency.p99 for latency in latencies),
        not_inference_share=median(run.non_inference_share for run in runs),
        of_alone=throughput / best if best else None,
        generator_cpu_share=median(run.generator_cpu_share for run in runs),
        folders=[run.run for run in runs],
    )


def _shared(name: str, values: Iterable[T]) -> T:
    return shared(values, name=name, of="matrix")
