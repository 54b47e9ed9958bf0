"""Accuracy: a delay of known length at a known place is found in its own stage, and in no other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from injection import DELAY_NS, PLACES, LateProxy, late_locustfile, late_server
from processes import TIMEOUT_S
from runs import load, measured

from bench.ledger.attribution import COLUMNS, Ledger, ledger, records_of
from bench.record import records, scenario, trace
from bench.runs.run import Plan

pytestmark = [pytest.mark.alone, pytest.mark.triton, pytest.mark.usefixtures("triton")]

WITHIN = 0.05
ENOUGH = 40
"""Requests of a kind, to compare their median with another kind's."""


def plan(address: str, folder: Path) -> Plan:
    """One user against the server."""
    settings = scenario.Settings(server=address, warmup_s=1.0)
    return Plan(settings, duration_s=TIMEOUT_S, results=folder)


def turns_and_ledger(folder: Path) -> tuple[np.ndarray, Ledger]:
    """Each joined request's number in the order of sending, warm-up included, and the ledger."""
    manifest = records.read_manifest(folder)
    requests = measured(folder)
    turns = np.array([int(request.id.rpartition("-")[2]) for request in requests])
    counted = ledger(records_of(requests), trace.read(folder), stages=manifest.stages)
    assert counted.joined.mean() > 0.99
    return turns[counted.joined], counted.select(counted.joined)


def assert_found(
    counted: Ledger, late: np.ndarray, usual: np.ndarray, *, stage: str, others: float = WITHIN
) -> None:
    """The late requests are DELAY_NS longer in the stage and unmoved in all others.

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
    wrong = np.abs(moved - expected) > allowed
    told = zip(COLUMNS, moved.round(3), allowed.round(3), strict=True)
    assert not wrong.any(), (stage, *told)


@pytest.fixture(scope="module")
def delayed(tmp_path_factory) -> Iterator[tuple[np.ndarray, Ledger]]:
    """A run in which each fifth request is late in a place of its own."""
    folder = tmp_path_factory.mktemp("late")
    with late_server(folder) as late:
        late.wait_ready()
        planned = plan(late.url, folder / "results")
        yield turns_and_ledger(load(planned, enough=ENOUGH * len(PLACES)))


@pytest.mark.parametrize("place", PLACES[1:])
def test_a_delay_in_the_server_is_found_in_its_own_stage(delayed, place) -> None:
    turns, counted = delayed
    late = turns % len(PLACES) == PLACES.index(place)
    assert_found(counted, late, turns % len(PLACES) == 0, stage=place)


def test_a_delay_in_the_network_is_found_in_send(triton, tmp_path) -> None:
    with LateProxy(triton.port) as proxy:
        folder = load(plan(proxy.url, tmp_path / "results"), enough=2 * ENOUGH)
        proxy.shutdown()
    turns, counted = turns_and_ledger(folder)
    assert_found(counted, turns % 2 == 1, turns % 2 == 0, stage="send")


def test_a_late_generator_is_found_in_schedule(triton, tmp_path) -> None:
    planned, late = plan(triton.url, tmp_path / "results"), late_locustfile(tmp_path)
    folder = load(planned, enough=2 * ENOUGH, locustfile=late)
    turns, counted = turns_and_ledger(folder)
    assert_found(counted, turns % 2 == 1, turns % 2 == 0, stage="schedule")
