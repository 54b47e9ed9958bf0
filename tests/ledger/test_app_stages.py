"""Known delays in the apps beside Triton are found in their stages, and a wait for a worker in
`queue`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from loads import OF_A_BUSY_MACHINE
from noted import as_noted, read_notes, write_module
from processes import ROOT, TIMEOUT_S
from runs import load

from bench.ledger import reading
from bench.ledger.attribution.table import COLUMNS
from bench.record.scenario import Settings
from bench.runs.equipment import equipped
from bench.runs.run import Plan
from pipelines.servers.apps import start
from pipelines.servers.apps.in_process import workers

DELAYS_NS = {"decode": 20_000_000, "resize": 15_000_000, "inference": 30_000_000}
WITHIN = 0.1
"""By how much a stage may be longer, in the median, than the delay and the work in it were."""

ENOUGH = 40
CROWD = 8
"""Users for each worker."""

LATE = """
import onnxruntime
from noted import noted

from pipelines.preprocess.opencv import OpenCV
from pipelines.servers.apps import {app} as app


def late(owner, name, stage, delay_ns):
    original = getattr(owner, name)

    def run(*arguments, **how):
        with noted(stage, delay_ns):
            return original(*arguments, **how)

    setattr(owner, name, run)


late(OpenCV, "decode", "decode", {decode})
late(OpenCV, "resize", "resize", {resize})
late(onnxruntime.InferenceSession, "run", "inference", {inference})
if __name__ == "__main__":
    app.command()
"""


@pytest.fixture(params=start.APPS)
def late(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a server whose app sleeps in three stages."""
    name, app = request.param, start.APPS[request.param]
    module = app.module.rpartition(".")[2]
    write_module(tmp_path)
    (tmp_path / "late.py").write_text(LATE.format(app=module, **DELAYS_NS))
    monkeypatch.setitem(start.APPS, name, app._replace(module="late"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return str(name)


def test_delays_and_waits_are_in_their_stages(late: str, tmp_path: Path) -> None:
    chosen = Settings(served_by=late, images="small", users=CROWD * workers(), warmup_s=0.5)
    with equipped([chosen]) as (settings,):
        plan = Plan(settings, duration_s=TIMEOUT_S, results=tmp_path / "results")
        folder = load(plan, enough=ENOUGH)
    found, summary = reading.read(folder), reading.summary_of(folder)
    invalid = {issue.code for issue in summary.issues if issue.invalid}
    assert invalid <= OF_A_BUSY_MACHINE, summary.issues
    assert (found.strange, summary.served_by) == ([], late)
    counted = found.ledger.select(found.ledger.due_ns >= found.manifest.window_start_ns)
    assert len(counted.due_ns) >= ENOUGH
    assert (counted.time_ns.sum(axis=1) == counted.latency_ns).all()
    notes = read_notes(tmp_path / "notes.jsonl")
    for stage, delay_ns in DELAYS_NS.items():
        really, _ = as_noted(folder, counted, notes, stage=stage)
        assert really.min() >= delay_ns, stage
        assert (counted.time_of(stage) >= really).all(), stage
        assert np.median(counted.time_of(stage) / really) < 1 + WITHIN, stage
    assert np.median(counted.time_of("queue")) > CROWD / 2 * sum(DELAYS_NS.values())
    assert np.median(counted.time_of("queue") / counted.latency_ns) > 0.5
    for stage in set(COLUMNS) - DELAYS_NS.keys() - {"queue"}:  # others may take the cores
        assert np.quantile(counted.time_of(stage) / counted.latency_ns, 0.25) < 0.05, stage
