"""From a run's ledger to its summary: the numbers that every report prints, and nothing else."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bench.ledger.attribution import COLUMNS, Ledger
from bench.ledger.mix import Group
from bench.record.records import Manifest, Sample
from pipelines.spans import HOP, OTHER

SCHEMA = 2
"""The stages that a message broker costs."""

TAIL = 0.01
"""The part of the requests, the slowest, that the tail's table is about."""


class Issue(msgspec.Struct, frozen=True):
    """Something the reader must know about a run. `invalid` means its numbers cannot be trusted."""

    code: str
    message: str
    hint: str
    invalid: bool


class StageTime(msgspec.Struct, frozen=True):
    """One stage over the measured requests, in milliseconds.

    `mean_ms`, `p50_ms`, `p95_ms` and `p99_ms` are of the time on the request's critical path;
    `share` is this stage's part of the summed latency, in 0..1; `work_ms` is the mean of summed
    span durations, each divided by the images or crops that shared it. `apportioned` marks a stage
    that was not timed by itself but is a measured part of a box that was.
    """

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    share: float
    work_ms: float
    apportioned: bool


class Latency(msgspec.Struct, frozen=True):
    """End-to-end latency from due to done, in milliseconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench report --format json` prints for one run.

    `stages` and `tail_stages` (the slowest 1 % of requests, at least one) are in the order in which
    a request passes them, end with `other`, and leave out stages that took no time. The shares of
    each sum to 1. `latency_ms` and `tail_latency_ms` are None, and the stages empty, when no
    request succeeded. `errors` of the `requests` failed. Only chains have a
    `topology`; `crops`, how they travel, the `workers` of each stage, the second's `batch`, and
    `broker_share`, the part of the latency spent with the broker, are None where there is no
    broker. CPU shares are of one core, the generator's of its busiest process, the others' of all
    together; None when there are no samples. `mix` is empty where all images are of one size class
    and format.
    """

    schema: int
    run: str
    valid: bool
    issues: list[Issue]
    pipeline: str
    images: str
    preprocess: str
    place: str
    transport: str
    topology: str | None
    crops: str | None
    workers: tuple[int, int] | None
    batch: int | None
    broker_share: float | None
    users: int
    duration_s: float
    machine: str
    requests: int
    errors: int
    throughput_per_s: float
    latency_ms: Latency | None
    stages: dict[str, StageTime]
    tail_requests: int
    tail_latency_ms: float | None
    tail_stages: dict[str, StageTime]
    other_share: float | None
    non_inference_share: float | None
    generator_cpu_share: float | None
    server_cpu_share: float | None
    worker_cpu_share: float | None
    broker_cpu_share: float | None
    mix: list[Group] = []


def summarise(
    manifest: Manifest,
    ledger: Ledger,
    *,
    errors: int,
    window_ns: tuple[int, int],
    samples: Sequence[Sample],
    issues: list[Issue],
    mix: list[Group],
    paused_ns: int = 0,
) -> Summary:
    """Return the summary of a run from the ledger of its measured, successful requests.

    Latencies are of all of them, stages of those that were joined with the server's trace where
    any were. Throughput counts what ended inside the window, divided by the window; CPU shares are
    of the window too. The time that the load was paused in it, to take turns, is no part of it.
    """
    start, end = window_ns
    running_ns = max(end - start - paused_ns, 0)
    settings = manifest.settings
    told = ledger.told()
    slow = _tail(told)
    inside = int(((ledger.end_ns >= start) & (ledger.end_ns < end)).sum())
    copied = ("pipeline", "images", "preprocess", "place", "transport", "topology", "users")
    same: dict[str, Any] = {name: getattr(settings, name) for name in copied}
    for name in ("crops", "workers", "batch"):
        same[name] = getattr(settings, name) if settings.brokered else None
    for role in ("generator", "server", "worker", "broker"):
        used = _cpu_share(samples, role=role, window_ns=window_ns)
        if used is not None:  # paused it takes next to none
            used = used * (end - start) / running_ns if running_ns else None
        same[f"{role}_cpu_share"] = used
    return Summary(
        schema=SCHEMA,
        run=manifest.run,
        valid=not any(issue.invalid for issue in issues),
        issues=issues,
        broker_share=share(told, *HOP) if settings.brokered else None,
        duration_s=running_ns / 1e9,
        machine=describe(manifest),
        requests=len(ledger.due_ns) + errors,
        errors=errors,
        throughput_per_s=inside / (running_ns / 1e9) if running_ns else 0.0,
        latency_ms=latency(ledger),
        stages=stage_times(told),
        tail_requests=len(slow.due_ns),
        tail_latency_ms=float(slow.latency_ns.mean()) / 1e6 if len(slow.due_ns) else None,
        tail_stages=stage_times(slow),
        other_share=share(told, OTHER),
        non_inference_share=share(told, *(name for name in COLUMNS if name != "inference")),
        mix=mix,
        **same,
    )


def describe(manifest: Manifest) -> str:
    """Return the machine in a few words."""
    machine = manifest.machine
    memory = machine.get("memory_bytes")
    size = f", {memory / 2**30:.0f} GiB" if isinstance(memory, int) else ""
    return f"{machine.get('cpu_model', 'unknown processor')}, {machine.get('cores')} cores{size}"


def latency(ledger: Ledger) -> Latency | None:
    """Return the distribution of the latency, None of no requests."""
    if not len(ledger.due_ns):
        return None
    values = ledger.latency_ns / 1e6
    quantiles = np.percentile(values, (50, 90, 95, 99, 100))
    return Latency(float(values.mean()), *map(float, quantiles))


def share(ledger: Ledger, *stages: str) -> float | None:
    """Return the part of the summed latency that the stages have together, None of no requests."""
    total = int(ledger.latency_ns.sum())
    columns = [COLUMNS.index(stage) for stage in stages]
    return int(ledger.time_ns[:, columns].sum()) / total if total else None


def stage_times(ledger: Ledger) -> dict[str, StageTime]:
    """Return every stage that took time, and `other`; empty of no requests."""
    if not len(ledger.due_ns):
        return {}
    found = {}
    for column, name in enumerate(COLUMNS):
        values = ledger.time_ns[:, column] / 1e6
        if name == OTHER or values.any():
            p50, p95, p99 = map(float, np.percentile(values, (50, 95, 99)))
            found[name] = StageTime(
                mean_ms=float(values.mean()),
                p50_ms=p50,
                p95_ms=p95,
                p99_ms=p99,
                share=share(ledger, name) or 0.0,
                work_ms=float(ledger.work_ns[:, column].mean()) / 1e6,
                apportioned=name in ledger.apportioned,
            )
    return found


def _tail(ledger: Ledger) -> Ledger:
    count = max(1, round(TAIL * len(ledger.due_ns)))
    return ledger.select(np.sort(np.argsort(ledger.latency_ns, kind="stable")[-count:]))


def _cpu_share(samples: Sequence[Sample], *, role: str, window_ns: tuple[int, int]) -> float | None:
    """CPU time per time of the window: of the busiest generator, of all of another role."""
    by_process: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.role == role and window_ns[0] <= sample.time_ns <= window_ns[1]:
            by_process[sample.pid].append(sample)
    shares = [
        (taken[-1].cpu_s - taken[0].cpu_s) / ((taken[-1].time_ns - taken[0].time_ns) / 1e9)
        for taken in by_process.values()
        if len(taken) > 1
    ]
    return (max if role == "generator" else sum)(shares) if shares else None
