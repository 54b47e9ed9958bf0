"""Hand-made summaries for the tests of the reports."""

import msgspec

from bench.ledger.mix import Group
from bench.ledger.quantiles import Quantile
from bench.ledger.summary import QUANTILES, SCHEMA, Issue, Latency, StageTime, Summary

MIX = {
    "schedule": 0.02,
    "encode": 0.11,
    "send": 0.21,
    "queue": 0.35,
    "input": 0.08,
    "decode": 0.67,
    "resize": 0.31,
    "normalize": 0.22,
    "inference": 5.12,
    "output": 0.04,
    "receive": 0.09,
    "parse": 0.02,
    "other": 0.16,
}
"""Milliseconds per stage of a plausible small-image request."""


def around(value: float) -> Quantile:
    """A quantile with an interval that is wider above."""
    return Quantile(value, 0.97 * value, 1.08 * value, 1)


def latency(mean: float, *times: float) -> Latency:
    """A latency whose quantiles are so many times its mean."""
    factors = dict(zip(QUANTILES, times, strict=True))
    told = {name: around(factor * mean) for name, factor in factors.items()}
    return Latency(mean=mean, max=1.1 * max(times) * mean, quantiles=told)


def stage_times(
    mix: dict[str, float], *, apportioned: tuple[str, ...] = ()
) -> dict[str, StageTime]:
    """Stages from their mean milliseconds; shares sum to 1."""
    total = sum(mix.values())
    return {
        name: StageTime(
            mean_ms=ms,
            p50_ms=around(0.93 * ms),
            p95_ms=around(1.41 * ms),
            p99_ms=around(2.2 * ms),
            share=ms / total,
            work_ms=0.0 if name == "other" else 1.2 * ms if name == "inference" else ms,
            apportioned=name in apportioned,
        )
        for name, ms in mix.items()
    }


def summary(mix: dict[str, float] | None = None, /, **changes: object) -> Summary:
    """A valid run whose mean latency is the sum of `mix`; its tail waits in the queue."""
    mix = MIX if mix is None else mix
    total = sum(mix.values())
    tail = {name: ms * (12 if name == "queue" else 1.4) for name, ms in mix.items()}
    base = Summary(
        schema=SCHEMA,
        run="2025-01-01-small",
        valid=True,
        issues=[],
        pipeline="classify",
        images="small",
        preprocess="opencv",
        place="ensemble",
        transport="grpc",
        topology=None,
        crops=None,
        workers=None,
        batch=None,
        broker_share=None,
        users=4,
        duration_s=60.0,
        machine="AMD EPYC 9R14, 2 cores, 8 GiB, Linux 6.1",
        requests=8123,
        errors=0,
        throughput_per_s=135.4,
        latency_ms=latency(total, 0.95, 1.2, 1.4, 2.1, 3.0),
        stages=stage_times(mix),
        tail_requests=82,
        tail_latency_ms=sum(tail.values()),
        tail_stages=stage_times(tail),
        other_share=mix.get("other", 0.0) / total,
        non_inference_share=1 - mix.get("inference", 0.0) / total,
        generator_cpu_share=0.34,
        server_cpu_share=1.87,
        worker_cpu_share=None,
        broker_cpu_share=None,
    )
    return msgspec.structs.replace(base, **changes)


def mixed() -> Summary:
    """A run with images of two formats, of which one could never be read."""
    times = {"mean_ms": 7.4, "p50_ms": around(7.1), "p99_ms": around(1234.5)}
    read = Group(by="format", name="JPEG", images=30, requests=8000, errors=0, **times)
    read = msgspec.structs.replace(read, preprocess_ms=2.25, non_inference_share=0.27)
    return summary(mix=[read, Group(by="format", name="PNG", images=2, requests=123, errors=123)])


def failed(**changes: object) -> Summary:
    """A run in which no request succeeded."""
    base = summary(
        run="all-failed",
        valid=False,
        issues=[
            Issue("no-success", "No request succeeded.", "Is the server running?", invalid=True),
            Issue("few-samples", "Only 3 CPU samples.", "", invalid=False),
        ],
        requests=12,
        errors=12,
        throughput_per_s=0.0,
        latency_ms=None,
        stages={},
        tail_requests=0,
        tail_latency_ms=None,
        tail_stages={},
        other_share=0.0,
        non_inference_share=0.0,
        generator_cpu_share=None,
        server_cpu_share=None,
        worker_cpu_share=None,
        broker_cpu_share=None,
    )
    return msgspec.structs.replace(base, **changes)
