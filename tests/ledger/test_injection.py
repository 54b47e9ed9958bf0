"""Accuracy: a delay of known length at a known place is found in its own stage, and in no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from injection import DELAY_NS, PLACES, LateProxy, late_locustfile, late_server

from bench.ledger.attribution import COLUMNS, Ledger, ledger, records_of
from bench.record import folders, records, scenario, trace
from bench.runs.run import LOAD, Plan, execute

pytestmark = [pytest.mark.alone, pytest.mark.triton, pytest.mark.usefixtures("triton")]

WITHIN = 0.05
DURATION_S = 4.0


def plan(address: str, folder: Path, *, duration_s: float = DURATION_S) -> Plan:
    """One user against the server."""
    settings = scenario.Settings(server=address, warmup_s=1.0)
    return Plan(settings, duration_s=duration_s, results=folder)


def turns_and_ledger(folder: Path) -> tuple[np.ndarray, Ledger]:
    """Each joined request's number in the order of sending, warm-up included, and the ledger."""
    manifest = records.read_manifest(folder)
    requests = [
        request
        for request in records.read_requests(folder)
        if request.due_ns >= manifest.window_start_ns
    ]
    turns = np.array([int(request.id.rpartition("-")[2]) for request in requests])
    counted = ledger(records_of(requests), trace.read(folder), stages=manifest.stages)
    assert counted.joined.mean() > 0.99
    return turns[counted.joined], counted.select(counted.joined)


def assert_found(counted: Ledger, late: np.ndarray, usual: np.ndarray, *, stage: str) -> None:
    """The late requests' median is DELAY_NS longer in the stage and unmoved in all others."""
    moved = np.median(counted.time_ns[late], axis=0) - np.median(counted.time_ns[usual], axis=0)
    by_stage = dict(zip(COLUMNS, (moved / DELAY_NS).round(3).tolist(), strict=True))
    assert by_stage.pop(stage) == pytest.approx(1, abs=WITHIN), (stage, by_stage)
    assert max(map(abs, by_stage.values())) < WITHIN, (stage, by_stage)


@pytest.fixture(scope="module")
def delayed(tmp_path_factory) -> Iterator[tuple[np.ndarray, Ledger]]:
    """A run in which each fifth request is late in a place of its own."""
    folder = tmp_path_factory.mktemp("late")
    with late_server(folder) as late:
        late.wait_ready()
        yield turns_and_ledger(
            execute(plan(late.url, folder / "results", duration_s=2 * DURATION_S))
        )


@pytest.mark.parametrize("place", PLACES[1:])
def test_a_delay_in_the_server_is_found_in_its_own_stage(delayed, place) -> None:
    turns, counted = delayed
    late = turns % len(PLACES) == PLACES.index(place)
    assert late.sum() > 20
    assert_found(counted, late, turns % len(PLACES) == 0, stage=place)


def test_a_delay_in_the_network_is_found_in_send(triton, tmp_path) -> None:
    with LateProxy(triton.port) as proxy:
        folder = execute(plan(proxy.url, tmp_path / "results"))
        proxy.shutdown()
    turns, counted = turns_and_ledger(folder)
    assert_found(counted, turns % 2 == 1, turns % 2 == 0, stage="send")


def test_a_late_generator_is_found_in_schedule(triton, tmp_path) -> None:
    planned = plan(triton.url, tmp_path / "results")
    folder = folders.make_folder(planned.results, planned.settings)
    late = str(late_locustfile(tmp_path))
    command = [late if part == str(LOAD) else part for part in planned.command(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    turns, counted = turns_and_ledger(folder)
    assert_found(counted, turns % 2 == 1, turns % 2 == 0, stage="schedule")
