"""From a run's ledger to its summary: the numbers that every report prints, and nothing else."""

from __future__ import annotations

import msgspec

SCHEMA = 1


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
    span durations, overlaps counted twice. `apportioned` marks a stage that was not timed by itself
    but is a measured part of a box that was.
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
    each sum to 1. `latency_ms` and `tail_latency_ms` are None, and the stages empty, when no request
    succeeded. CPU shares are of one core; None when there are no samples.
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
    other_share: float
    non_inference_share: float
    generator_cpu_share: float | None
    server_cpu_share: float | None
