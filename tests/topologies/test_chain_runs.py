"""Runs of chains as `bench run` makes them: their ledger, and what they leave behind."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pytest
from brokers import SERVICE_OF, Services
from processes import BENCH, TIMEOUT_S, family, started, until, wait_gone
from runs import assert_less, enough

from bench.generator.watching.samples import worker_processes
from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.reading import summary_of
from bench.record import records, trace
from bench.record.manifest import read_manifest
from bench.record.scenario import Settings
from bench.runs.run import Plan, execute
from pipelines import processes
from pipelines.brokers import is_reply, kafka_topics
from pipelines.brokers.redis import connect
from pipelines.servers import control, triton
from pipelines.spans import OTHER, Request
from pipelines.topologies import choose
from pipelines.topologies.brokered.stages import IN_FLIGHT

OTHER_LESS_THAN = {1: 0.02, 8: 0.04}
"""Of a request's time, by the number of users."""


def shared_memory(members: list[psutil.Process]) -> list[Path]:
    """The regions of shared memory that the processes made."""
    return [
        path
        for process in members
        for path in Path("/dev/shm").glob(f"{processes.PREFIX}-{processes.owner(process.pid)}-*")
    ]


@pytest.mark.parametrize(
    ("pipeline", "topology", "users"),
    [
        ("faces", "redis-streams", 1),
        ("faces", "kafka", 8),
        ("text", "fused", 8),
        ("text", "redis-lists", 8),
    ],
)
def test_a_run_accounts_for_all_time_and_leaves_nothing_behind(
    triton: triton.Server,
    running: Services,
    tmp_path: Path,
    pipeline: str,
    topology: str,
    users: int,
) -> None:
    service = SERVICE_OF.get(topology)
    settings = Settings(
        pipeline=pipeline,
        images=f"{pipeline}-4",
        topology=topology,
        users=users,
        server=triton.url,
        broker=running.url(service) if service else None,
        warmup_s=0.2,
    )
    control.load(triton.url, choose.models(settings))
    planned = Plan(settings, duration_s=TIMEOUT_S, results=tmp_path)

    def other(_: int) -> float:
        folder = execute(planned, enough=enough(10 + users))
        requests = list(records.read_requests(folder))
        if service:
            assert_batches_are_accounted_for(requests)
            assert worker_processes(str(settings.broker)) == []
            assert_empty(service, str(settings.broker))
        return unaccounted(folder, requests)

    assert_less(other, OTHER_LESS_THAN[users])


def unaccounted(folder: Path, requests: list[Request]) -> float:
    """The part of a request's time that no stage of the run has; the median, as on a busy machine
    single requests wait for a core where no span is.
    """
    found = summary_of(folder)
    assert found.errors == 0
    assert sum(stage.share for stage in found.stages.values()) == pytest.approx(1, abs=1e-12)
    stages = read_manifest(folder).stages
    counted = ledger(records_of(requests), trace.read(folder), stages=stages)
    assert counted.joined.mean() > 0.99
    assert np.array_equal(counted.time_ns.sum(axis=1), counted.latency_ns)
    return float(np.median(counted.time_of(OTHER) / counted.latency_ns))


def assert_batches_are_accounted_for(requests: list[Request]) -> None:
    """Each batch of the second stage is fully somebody's work, and critical to no one but those who
    waited for it."""
    durations: dict[tuple[int, int], int] = {}
    work: dict[tuple[int, int], float] = defaultdict(float)
    for request in requests:
        for span in request.spans:
            if (span.stage, span.where) == ("normalize", "second"):
                batch = (span.start_ns, span.end_ns)
                durations[batch] = span.end_ns - span.start_ns
                work[batch] += durations[batch] / span.items
        calls = [call for call in request.calls if "/" in call.id]
        assert calls
        critical = [call for call in calls if call.critical]
        assert len(critical) <= 1  # none where the regions came last
        assert all(call.received_ns == max(c.received_ns for c in calls) for call in critical)
    assert work == pytest.approx(durations)
    assert any(call.critical and "/" in call.id for each in requests for call in each.calls)


def assert_empty(service: str, url: str) -> None:
    """The broker keeps no message of ours, nor anything for ever."""
    if service == "kafka":
        names = list(kafka_topics.connect(url).list_topics(timeout=TIMEOUT_S).topics)
        ours = f"replies-{processes.owner()}-"  # of other tests
        replies = filter(is_reply, names)
        assert [name for name in replies if not name.startswith(ours)] == []
        return
    with connect(url) as redis:
        for key in redis.scan_iter():
            assert b"replies" not in key
            assert redis.ttl(key) > 0
            assert redis.type(key) == b"stream"
            assert redis.xlen(key) == 0


def test_of_a_killed_run_no_process_is_left_and_nothing_for_ever(
    triton: triton.Server, running: Services, tmp_path: Path
) -> None:
    folder, url, users = tmp_path / "results", running.url("redis"), 4
    load = (
        *("--topology", "redis-streams", "--broker-url", url, "--server", triton.url),
        *("--transport", "shm", "--users", users, "--duration", "60s", "--results", folder),
    )
    with started(BENCH, "run", "faces", *load, log=tmp_path / "log") as process:
        until(
            lambda: b"\n" in b"".join(map(Path.read_bytes, folder.glob("*/requests-*.jsonl"))),
            "requests",
        )
        members = family(process)
        assert shared_memory(members)
        for member in members:
            member.kill()
        process.wait()
        wait_gone(members)
    control.turn_off(triton.url)  # of the traces, as the next run does
    with connect(url) as redis:
        kept = {key: redis.xlen(key) for key in redis.scan_iter()}
        assert all(redis.ttl(key) > 0 for key in kept)
    assert kept[b"streams:faces-images"] <= users
    assert kept[b"streams:faces-crops"] <= IN_FLIGHT

    def swept() -> bool:
        processes.sweep_shared_memory()  # as the next server does
        return shared_memory(members) == []

    until(swept, "the regions of shared memory are removed")
