"""Chains under load: where the time of a brokered run goes, and what a restarted broker leaves."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from brokers import SERVICE_OF, Services
from chains import changed, says, worker
from injection import LateProxy
from processes import BENCH, started, until
from test_injection import assert_found, turns_and_ledger

from bench import plan as planning
from bench import results
from bench.images import ensure_images
from bench.plan import Plan, execute
from bench.reports import exit_code, summary_of
from bench.stack import setup_of
from pipelines import server, topologies
from pipelines.spans import Request

pytestmark = pytest.mark.triton

OTHER_AT_MOST = 0.04


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    ensure_images(["faces-1", "faces-4"])


def chosen(
    triton: server.Server, running: Services, topology: str, **more: object
) -> results.Settings:
    """Settings of a run of faces; a broker runs where the topology has one."""
    service = SERVICE_OF.get(topology)
    made = results.Settings(
        pipeline="faces",
        images="faces-1",
        server=triton.url,
        topology=topology,
        broker=running.url(service) if service else None,
        warmup_s=1.0,
    )
    server.load(triton.url, topologies.models(setup_of(made)))
    return msgspec.structs.replace(made, **more)


@pytest.mark.parametrize("topology", ["fused", "direct", "redis-streams", "kafka"])
def test_with_many_users_next_to_nothing_is_without_a_stage(
    triton: server.Server, running: Services, tmp_path: Path, topology: str
) -> None:
    settings = chosen(triton, running, topology, users=16)
    found = summary_of(execute(Plan(settings, duration_s=2.0, results=tmp_path)))
    assert found.errors == 0
    assert found.requests > 16
    assert found.other_share is not None
    assert found.other_share <= OTHER_AT_MOST
    assert sum(stage.share for stage in found.stages.values()) == pytest.approx(1, abs=1e-12)
    assert ((found.broker_share or 0) > 0) == (topology in SERVICE_OF)


def test_a_delay_in_the_broker_is_found_in_broker(
    triton: server.Server,
    running: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What Redis has for the second stage is late, every second time."""
    settings = chosen(triton, running, "redis-streams")
    port = int(str(settings.broker).rpartition(":")[2])
    with LateProxy(port, mark=b"streams:faces-crops", back=True) as proxy:

        @contextlib.contextmanager
        def crew(_: results.Settings) -> Iterator[list[subprocess.Popen[bytes]]]:
            behind = changed(settings, broker=proxy.url)
            with (
                worker(settings, "first", log=tmp_path / "first") as first,
                worker(behind, "second", log=tmp_path / "second") as second,
            ):
                for stage in ("first", "second"):
                    says(tmp_path / stage, "ready")
                yield [first, second]

        monkeypatch.setattr(planning, "crew", crew)
        folder = execute(Plan(settings, duration_s=8.0, results=tmp_path / "results"))
        proxy.shutdown()
    turns, counted = turns_and_ledger(folder)
    assert_found(counted, turns % 2 == 1, turns % 2 == 0, stage="broker")


def finished(folder: Path) -> list[Request]:
    """What the one run in the folder has recorded so far."""
    runs = list(folder.glob("*"))
    return list(results.read_requests(runs[0])) if runs else []


@pytest.mark.parametrize(("topology", "duration"), [("redis-streams", "9s"), ("kafka", "14s")])
def test_a_broker_that_restarts_in_mid_run_costs_what_was_in_flight(
    triton: server.Server, running: Services, tmp_path: Path, topology: str, duration: str
) -> None:
    settings, service = chosen(triton, running, topology), SERVICE_OF[topology]
    folder, log = tmp_path / "results", tmp_path / "log"
    load = ("--images", "faces-1", "--topology", topology, "--users", 2, "--duration", duration)
    where = ("--server", triton.url, "--broker-url", settings.broker, "--results", folder)
    with started(BENCH, "run", "faces", *load, *where, "--format", "json", log=log) as process:
        until(lambda: len(finished(folder)) > 20, "requests")
        running.process(service).terminate()
        running.process(service).wait()
        running.revive(service)
        back_ns = time.monotonic_ns()
        code = process.wait(60)
    assert "Traceback" not in log.read_text()
    requests = finished(folder)
    failed = [request for request in requests if request.error is not None]
    assert all(str(settings.broker) in str(request.error) for request in failed)
    later = [request for request in requests if request.due_ns > back_ns]
    assert sum(request.error is None for request in later) > 5
    assert max(request.end_ns for request in later if request.error is None) > back_ns + 2e9
    found = summary_of(next(folder.glob("*")))
    assert code == exit_code([found])
    assert found.errors <= len(failed)
    assert found.valid or {"ERRORS"} <= {issue.code for issue in found.issues if issue.invalid}
