"""Accuracy of a chain's ledger: a crop that comes late from the broker is found in `broker`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from brokers import Services
from chains import changed, says, worker
from injection import DELAY_NS, LateProxy
from test_injection import turns_and_ledger

from bench import results
from bench.attribution import COLUMNS, Ledger
from bench.images import build_images
from bench.plan import Plan
from bench.stack import setup_of
from pipelines import server, topologies
from pipelines.messages import STAGES


def test_a_late_broker_is_found_in_broker(
    triton: server.Server, running: Services, tmp_path: Path
) -> None:
    (images,) = build_images(tmp_path, count=1, sets=["faces-1"])  # whose decoding takes the same
    settings = results.Settings(
        pipeline="faces",
        images=str(images),
        topology="redis-streams",
        server=triton.url,
        broker=running.url("redis"),
        warmup_s=1.0,
    )
    server.load(triton.url, topologies.models(setup_of(settings)))
    planned = Plan(settings, duration_s=4.0, results=tmp_path / "results")
    folder = results.make_folder(planned.results, settings)
    first, second = logs = [tmp_path / stage for stage in STAGES]
    port = int(str(settings.broker).rpartition(":")[2])
    with (
        LateProxy(port, mark=b"streams:faces-crops", back=True) as late,  # each is one crop
        worker(settings, "first", log=first),
        worker(changed(settings, broker=late.url), "second", log=second),
    ):
        for log in logs:
            says(log, "ready")
        late.turn = 0  # that there was no such stream yet was not about a crop
        subprocess.run(planned.command(folder), check=True, capture_output=True, timeout=120)
        late.shutdown()
    turns, counted = turns_and_ledger(folder)
    moved = moved_by_lateness(counted, turns % 2 == 1, turns % 2 == 0)
    assert moved.pop("broker") == pytest.approx(1, abs=0.05), moved
    assert max(map(abs, moved.values())) < 0.1, moved  # inference varies by that itself


def moved_by_lateness(counted: Ledger, late: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """By how many DELAY_NS the median of each stage is longer where the broker was late."""
    assert min(late.sum(), others.sum()) > 20
    medians = (np.median(counted.time_ns[chosen], axis=0) for chosen in (late, others))
    return dict(zip(COLUMNS, np.subtract(*medians) / DELAY_NS, strict=True))
