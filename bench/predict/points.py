"""A stored run as a point of a curve: what came of one load, and where its requests waited."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from bench.ledger.quantiles import Quantile
from bench.ledger.reading import read
from bench.ledger.summary import Summary
from bench.record import records, trace
from bench.record.manifest import Manifest, read_manifest
from pipelines.spans import Request


@dataclass(frozen=True)
class Measured:
    """A run at a load, a rate a second or a number of users: its summary, and the mean wait in each
    model's queue, in milliseconds a request, as far as it is known.
    """

    load: float
    summary: Summary
    waits_ms: dict[str, float]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench curve --format json` prints of one load.

    `load` is what was asked for: requests a second, or users. `offered_per_s` is None of a closed
    loop. `in_flight` is how many requests were under way in the mean, None where that was not
    counted; by Little's law (1961) it is `rate_x_latency`. `queue_share` and `stages_ms`, the mean
    of each stage, are of the latency. `issues` are the codes of those that make it INVALID.
    """

    load: float
    run: str
    valid: bool
    issues: list[str]
    offered_per_s: float | None
    throughput_per_s: float
    requests: int
    errors: int
    dropped: int
    mean_ms: float | None
    quantiles: dict[str, Quantile]
    queue_share: float | None
    generator_cpu_share: float | None
    server_cpu_share: float | None
    in_flight: float | None
    rate_x_latency: float | None
    stages_ms: dict[str, float]
    waits_ms: dict[str, float]


def measured(folder: Path, load: float) -> Measured:
    """Read a run. Raises ResultsError as `read` does."""
    reading = read(folder)
    return Measured(load, reading.summary(), _waits(folder, reading.manifest))


def point(one: Measured) -> Point:
    """Return the run as a point."""
    told, latency = one.summary, one.summary.latency_ms
    queue = told.stages.get("queue")
    return Point(
        load=one.load,
        run=told.run,
        valid=told.valid,
        issues=[issue.code for issue in told.issues if issue.invalid],
        offered_per_s=told.offered_per_s,
        throughput_per_s=told.throughput_per_s,
        requests=told.requests,
        errors=told.errors,
        dropped=told.dropped,
        mean_ms=latency.mean if latency else None,
        quantiles=latency.quantiles if latency else {},
        queue_share=(queue.share if queue else 0.0) if told.stages else None,
        generator_cpu_share=told.generator_cpu_share,
        server_cpu_share=told.server_cpu_share,
        in_flight=told.in_flight,
        rate_x_latency=told.throughput_per_s * latency.mean / 1e3 if latency else None,
        stages_ms={name: time.mean_ms for name, time in told.stages.items()},
        waits_ms=one.waits_ms,
    )


def _waits(folder: Path, manifest: Manifest) -> dict[str, float]:
    """By the trace, of the requests that arrived in the window."""
    start, end = manifest.window_start_ns, manifest.window_end_ns
    rows = trace.read(folder)
    inside = rows[(rows["REQUEST_START"] >= start) & (rows["REQUEST_START"] < (end or 1 << 62))]
    requests = int((~inside["parent"].isin(inside["id"])).sum())
    steps = inside[inside["model"].isin(list(manifest.stages)) & (inside["QUEUE_START"] > 0)]
    if steps.empty:
        return {}
    waited = (steps["COMPUTE_START"] - steps["QUEUE_START"]).clip(lower=0)
    by_model = waited.groupby(steps["model"].astype("str")).sum()
    return {str(name): float(ns) / requests / 1e6 for name, ns in by_model.items()}


def latencies_ms(folder: Path) -> npt.NDArray[np.float64]:
    """Return the latencies of the requests in the window of a run that is over, in the order in
    which they were due; infinite where there was no answer.
    """
    manifest = read_manifest(folder)
    start, end = manifest.window_start_ns, manifest.window_end_ns or 1 << 62
    return in_order(
        [
            (one.due_ns, latency_ms(one))
            for one in records.read_requests(folder, schema=manifest.schema)
            if start <= one.due_ns < end
        ]
    )


def in_order(told: list[tuple[int, float]]) -> npt.NDArray[np.float64]:
    """Return the latencies of pairs of due time and latency, by the first."""
    return np.array([latency for _, latency in sorted(told)], np.float64)


def latency_ms(request: Request) -> float:
    """Return how long a request took, infinite where it had no answer."""
    return (request.end_ns - request.due_ns) / 1e6 if request.error is None else float("inf")
