"""A broker that restarts under load costs what was in flight, and the run says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from brokers import Services
from processes import BENCH, started, until

from bench import results
from bench.images import ensure_images
from bench.reports import exit_code, summary_of
from bench.stack import setup_of
from pipelines import server, topologies
from pipelines.spans import Request

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    ensure_images(["faces-1"])


@pytest.fixture
def settings(triton: server.Server, running: Services) -> results.Settings:
    """Those of a run of faces over Redis streams."""
    made = results.Settings(
        pipeline="faces",
        images="faces-1",
        server=triton.url,
        topology="redis-streams",
        broker=running.url("redis"),
        warmup_s=1.0,
    )
    server.load(triton.url, topologies.models(setup_of(made)))
    return made


def finished(folder: Path) -> list[Request]:
    """What the one run in the folder has recorded so far."""
    runs = list(folder.glob("*"))
    return list(results.read_requests(runs[0])) if runs else []


def test_a_broker_that_restarts_in_mid_run_costs_what_was_in_flight(
    settings: results.Settings, running: Services, tmp_path: Path
) -> None:
    folder, log = tmp_path / "results", tmp_path / "log"
    load = ("--images", settings.images, "--topology", settings.topology, "--users", 2)
    where = ("--server", settings.server, "--broker-url", settings.broker, "--results", folder)
    how = ("--duration", "9s", "--format", "json")
    with started(BENCH, "run", "faces", *load, *where, *how, log=log) as process:
        until(lambda: len(finished(folder)) > 20, "requests")
        running.process("redis").terminate()
        running.process("redis").wait()
        running.revive("redis")
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
