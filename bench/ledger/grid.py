"""What a grid of runs found: from their summaries to points, whose numbers are medians over runs.

A sweep is a grid of a chain's fan-outs and topologies; a matrix one of pipelines, images, places
and numbers of users, beside inference alone.
"""

import itertools
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from bench.ledger.summary import Summary
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import NOBODY, TOPOLOGIES

P = TypeVar("P", bound=msgspec.Struct)

SCHEMA = 1
ALONE = NOBODY
"""The place of inference alone."""

_ORDER = (
    *TOPOLOGIES,
    *("classification", "segmentation", "detection", "depth"),
    *("tensor", "small", "medium", "large"),
    *(ALONE, "client", "server", "server-gpu"),
)
"""Of names in tables; what is not named comes last."""


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
    whole = ("preprocess", "place", "transport", "users", "machine")
    brokered = [run for run in summaries if run.workers or run.crops or run.batch]
    return Sweep(
        schema=SCHEMA,
        chain=_shared(["pipeline"], summaries, of="sweep")["pipeline"],
        **_shared(whole, summaries, of="sweep"),
        **_shared(("crops", "workers", "batch"), brokered or summaries, of="sweep"),
        duration_s=statistics.median(run.duration_s for run in summaries),
        fanouts=sorted(set(map(fanout_of, summaries))),
        topologies=sorted({str(run.topology) for run in summaries}, key=_rank),
        points=[
            _point(SweepPoint, runs, fanout=fanout_of(runs[0]))
            for runs in _grouped(summaries, lambda run: (fanout_of(run), str(run.topology)))
        ],
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
    served = [run for run in summaries if run.place != ALONE] or summaries
    shared = _shared(["transport", "machine"], summaries, of="matrix")
    shared |= _shared(["preprocess"], served, of="matrix")
    points = [
        _point(MatrixPoint, runs, of_alone=None)
        for runs in _grouped(
            summaries,
            lambda run: (_rank(run.pipeline), run.users, _rank(run.images), _rank(run.place)),
        )
    ]
    best = {(one.pipeline, one.users): one.images_per_s for one in points if one.place == ALONE}
    return Matrix(
        schema=SCHEMA,
        device=device,
        duration_s=statistics.median(run.duration_s for run in summaries),
        note=note,
        points=[
            msgspec.structs.replace(one, of_alone=one.images_per_s / alone if alone else None)
            for one in points
            for alone in [best.get((one.pipeline, one.users))]
        ],
        runs=list(summaries),
        **shared,
    )


def _rank(name: str) -> tuple[int, str]:
    """What to sort a name by."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER)), name


def _grouped(
    runs: Iterable[Summary], key: Callable[[Summary], tuple[Any, ...]]
) -> Iterator[list[Summary]]:
    for _, group in itertools.groupby(sorted(runs, key=key), key=key):
        yield list(group)


def _shared(names: Sequence[str], runs: Iterable[Summary], *, of: str) -> dict[str, Any]:
    """Return by name the one value that all runs have.

    Raises VisiontaxError, saying that the runs are no `of`, when they have several or none.
    """
    found = {}
    for name in names:
        values = {getattr(run, name) for run in runs}
        if len(values) != 1:
            listed = ", ".join(sorted(map(str, values))) or "there are none"
            raise VisiontaxError(f"these runs are no {of}: {name} is not one: {listed}")
        (found[name],) = values
    return found


def _median(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are known, None without one."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _point(kind: type[P], runs: Sequence[Summary], **own: Any) -> P:
    """Return a point of that kind, of all that can be said of runs that were alike, and its own."""
    latencies = [run.latency_ms for run in runs if run.latency_ms]
    throughput = statistics.median(run.throughput_per_s for run in runs)
    found = msgspec.structs.asdict(runs[0]) | {
        "runs": len(runs),
        "folders": [run.run for run in runs],
        "valid": all(run.valid for run in runs),
        "throughput_per_s": throughput,
        "images_per_s": throughput,
        "crops_per_s": throughput * own.get("fanout", 0),
        "mean_ms": _median(latency.mean for latency in latencies),
        "p99_ms": _median(latency.p99 for latency in latencies),
        "broker_share": _median(run.broker_share for run in runs),
        "not_inference_share": _median(run.non_inference_share for run in runs),
        "generator_cpu_share": _median(run.generator_cpu_share for run in runs),
        **own,
    }
    return kind(**{name: found[name] for name in kind.__struct_fields__})
