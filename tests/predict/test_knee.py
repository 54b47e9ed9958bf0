"""The knee of planted curves is found, and where there is none, none is."""

import numpy as np
import pytest

from bench.predict.knee import knee

RATES = np.array([0.2, 0.4, 0.6, 0.75, 0.85, 0.95, 1.05, 1.15, 1.3, 1.5])
USERS = np.array([1, 2, 4, 8, 16, 32, 64.0])


@pytest.mark.parametrize("capacity", [12.0, 400.0, 9000.0])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_a_planted_capacity_is_found(capacity: float, noise: float) -> None:
    chance, inside, found = np.random.default_rng(7), 0, []
    for _ in range(20):
        rates = RATES * capacity * chance.uniform(0.95, 1.05)
        came = np.minimum(rates, capacity) * np.exp(noise * chance.standard_normal(len(rates)))
        bend = knee(rates, came)
        assert bend
        assert bend.at == bend.capacity_per_s
        found.append(bend.capacity_per_s / capacity)
        inside += bend.capacity_low <= capacity <= bend.capacity_high
    assert sum(abs(one - 1) < 0.05 for one in found) >= 19, found
    assert inside >= 17


def test_users_bend_where_the_asymptotes_meet() -> None:
    """A round of 20 ms, and 300 a second at most: six users, though the curve is round there."""
    came = ((USERS / 0.02) ** -6 + 300.0**-6) ** (-1 / 6)
    bend = knee(USERS, came, closed=True)
    assert bend
    assert bend.at == pytest.approx(6, rel=0.05)
    assert bend.takes_s == pytest.approx(0.02, rel=0.03)
    assert bend.at_low < 6 < bend.at_high


def test_throughput_that_still_grows_has_no_knee() -> None:
    chance = np.random.default_rng(3)
    for _ in range(20):
        noise = np.exp(0.01 * chance.standard_normal(len(RATES)))
        assert knee(RATES, RATES * noise) is None
    assert knee(USERS, 50 * USERS, closed=True) is None
    assert knee([100.0], [90.0]) is None
    assert knee([100.0, 200.0], [0.0, 0.0]) is None


def test_more_points_make_it_narrower() -> None:
    chance, widths = np.random.default_rng(5), []
    for points in (6, 60):
        rates = np.linspace(100, 700, points)
        came = np.minimum(rates, 400) * np.exp(0.02 * chance.standard_normal(points))
        bend = knee(rates, came)
        assert bend
        widths.append(bend.capacity_high / bend.capacity_low)
    assert widths[1] < widths[0]
