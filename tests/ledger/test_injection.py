"""Accuracy: a delay of known length at a known place is found in its own stage, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from injection import DELAY_NS, PLACES, LateProxy, late_locustfile, late_server
from processes import TIMEOUT_S
from runs import load, measured

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.record import scenario, trace
from bench.record.manifest import read_manifest
from bench.runs.run import Plan
from pipelines.servers import triton

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("triton")]

WITHIN = 0.05
ENOUGH = 30
"""Requests of a kind, to compare their median with another kind's."""

Made = Callable[[int], tuple[np.ndarray, Ledger]]
"""Makes a run of so many requests, and gives the number of each, and their ledger."""


def plan(address: str, folder: Path, *, topology: str | None = None) -> Plan:
    """One user against the server."""
    settings = scenario.Settings(server=address, topology=topology, warmup_s=0.3)
    return Plan(settings, duration_s=TIMEOUT_S, results=folder)


def turns_and_ledger(folder: Path) -> tuple[np.ndarray, Ledger]:
    """Each joined request's number in the order of sending, warm-up included, and the ledger."""
    manifest = read_manifest(folder)
    requests = measured(folder)
    turns = np.array([int(request.id.rpartition("-")[2]) for request in requests])
    counted = ledger(records_of(requests), trace.read(folder), stages=manifest.stages)
    assert counted.joined.mean() > 0.99
    return turns[counted.joined], counted.select(counted.joined)


def misplaced(
    counted: Ledger, late: np.ndarray, usual: np.ndarray, *, stage: str, others: float
) -> list[tuple[str, float, float]]:
    """The stages in which the late requests are not as much longer as they should be, DELAY_NS in
    that one and nothing in all others: by how much, in DELAY_NS, and what is allowed.

    Lower quartiles are compared: what else the machine does moves them less than medians. Where
    that is much, four standard errors come to what is allowed.
    """
    assert min(late.sum(), usual.sum()) > 20
    random = np.random.default_rng(1)

    def longer(draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        low = [np.quantile(draw(counted.time_ns[some]), 0.25, axis=0) for some in (late, usual)]
        return np.subtract(*low) / DELAY_NS

    moved = longer(lambda times: times)
    error = np.std(
        [longer(lambda times: random.choice(times, len(times))) for _ in range(200)], axis=0
    )
    expected = np.array([float(column == stage) for column in COLUMNS])
    allowed = np.where(expected, WITHIN, others) + 4 * error
    wrong = np.flatnonzero(np.abs(moved - expected) > allowed)
    return [(COLUMNS[at], float(moved[at]), float(allowed[at])) for at in wrong]


def assert_found(
    made: Made, *, stage: str, kinds: int = 2, number: int = 1, others: float = WITHIN
) -> None:
    """Of so many kinds of requests, in turns, that one is late in the stage, and in no other.

    Where a run does not show that a longer one has to: others' programs disturb a run, and a delay
    that is not where it belongs is wrong in both.
    """
    for enough in (ENOUGH * kinds, 4 * ENOUGH * kinds):
        turns, counted = made(enough)
        late, usual = turns % kinds == number, turns % kinds == 0
        wrong = misplaced(counted, late, usual, stage=stage, others=others)
        if not wrong:
            return
    raise AssertionError((stage, wrong))


@pytest.fixture(scope="module", params=[None, "fused"], ids=["ensemble", "fused"])
def delayed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes runs in which each fifth request is late in a place of its own, or remembers them."""

    @cache
    def make(enough: int) -> tuple[np.ndarray, Ledger]:
        folder = tmp_path_factory.mktemp("late")
        with late_server(folder, topology=request.param) as late:
            late.wait_ready()
            planned = plan(late.url, folder / "results", topology=request.param)
            made = turns_and_ledger(load(planned, enough=enough))
            late.process.kill()
        return made

    return make


@pytest.mark.parametrize("place", PLACES[1:])
def test_a_delay_in_the_server_is_found_in_its_own_stage(delayed: Made, place: str) -> None:
    assert_found(delayed, stage=place, kinds=len(PLACES), number=PLACES.index(place))


def test_a_delay_in_the_network_is_found_in_send(triton: triton.Server, tmp_path: Path) -> None:
    def made(enough: int) -> tuple[np.ndarray, Ledger]:
        with LateProxy(triton.port) as proxy:
            folder = load(plan(proxy.url, tmp_path / f"{enough}"), enough=enough)
            proxy.shutdown()
        return turns_and_ledger(folder)

    assert_found(made, stage="send")


def test_a_late_generator_is_found_in_schedule(triton: triton.Server, tmp_path: Path) -> None:
    late = late_locustfile(tmp_path)

    def made(enough: int) -> tuple[np.ndarray, Ledger]:
        planned = plan(triton.url, tmp_path / f"{enough}")
        return turns_and_ledger(load(planned, enough=enough, locustfile=late))

    assert_found(made, stage="schedule")
