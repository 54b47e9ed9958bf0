"""Quantiles are in their intervals as often as these say, and are not told of too few values."""

import numpy as np
import pytest

from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.ledger.quantiles import FEWEST, LEVEL, needed, over_runs, quantile
from bench.ledger.summary import stage_times


@pytest.mark.parametrize(
    ("part", "needs"), [(0.5, 10), (0.9, 50), (0.95, 100), (0.99, 500), (0.999, 5000)]
)
def test_a_quantile_needs_values_beyond_it(part: float, needs: int) -> None:
    assert needed(part) == needs
    values = np.arange(1.0, needs + 1)
    assert quantile(values[:-1], part).value is None
    assert quantile(values[:-1], part).needs == needs
    assert quantile(values, part).value is not None


@pytest.mark.parametrize("part", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("draw", ["standard_exponential", "standard_normal", "standard_cauchy"])
def test_the_interval_holds_the_true_quantile_as_often_as_it_says(part: float, draw: str) -> None:
    chance = np.random.default_rng(7)
    truth = np.quantile(np.sort(getattr(chance, draw)(2_000_000)), part)
    inside = 0
    for _ in range(400):
        found = quantile(np.sort(getattr(chance, draw)(1000)), part)
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low <= found.value <= found.high
        inside += found.low <= truth <= found.high
    assert LEVEL - 0.03 < inside / 400 <= 1


def test_intervals_get_narrower_with_more_values() -> None:
    chance = np.random.default_rng(7)
    widths = []
    for count in (1000, 100_000):
        found = quantile(np.sort(chance.standard_exponential(count)), 0.99)
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 5
    many = quantile(np.sort(chance.standard_exponential(2_000_000)), 0.999)
    assert many.value == pytest.approx(np.log(1000), rel=0.01)


def test_the_intervals_of_a_stage_hold_the_truth_as_often_as_they_say() -> None:
    """Of 400 runs of 800 requests each, whose stages take times of known distributions."""
    chance, runs, requests = np.random.default_rng(11), 400, 800
    truth = {"decode": lambda part: -np.log1p(-part), "resize": lambda part: 3 + 2 * part}
    inside = dict.fromkeys([(name, part) for name in truth for part in (0.5, 0.95, 0.99)], 0)
    for _ in range(runs):
        times = np.zeros((requests, len(COLUMNS)), np.int64)
        for name, ms in truth.items():
            times[:, COLUMNS.index(name)] = 1e6 * ms(chance.random(requests))
        due, known = np.arange(requests), np.ones(requests, bool)
        stages = stage_times(Ledger(due, due + times.sum(axis=1), times, times, known, due))
        for name, part in inside:
            time = stages[name]
            found = {0.5: time.p50_ms, 0.95: time.p95_ms, 0.99: time.p99_ms}[part]
            assert found.low is not None
            assert found.high is not None
            inside[name, part] += found.low <= truth[name](part) <= found.high
    off = 3.3 * np.sqrt(runs * LEVEL * (1 - LEVEL))
    for many in inside.values():
        assert runs * LEVEL - off < many < runs, "about so many, and not all"


@pytest.mark.parametrize("runs", [1, 2, FEWEST - 1])
def test_of_few_runs_the_interval_of_the_median_is_their_range(runs: int) -> None:
    found = over_runs([*range(runs, 0, -1)])
    assert (found.value, found.low, found.high) == ((1 + runs) / 2, 1, runs)


def test_of_many_runs_the_interval_holds_the_median_as_often_as_it_says() -> None:
    chance, jobs = np.random.default_rng(3), 2000
    for runs in (FEWEST, 9, 20):
        inside = 0
        for _ in range(jobs):
            found = over_runs(chance.standard_exponential(runs).tolist())
            assert found.low is not None
            assert found.high is not None
            inside += found.low <= np.log(2) <= found.high
        assert LEVEL - 3.3 * np.sqrt(LEVEL * (1 - LEVEL) / jobs) < inside / jobs < 0.99
    with pytest.raises(ValueError, match="no runs"):
        over_runs([])
