"""The search for the rate that holds an objective, on queues that are simulated: every probe is the
latencies of a queue in which nothing is measured, judged as those of a run are.
"""

import numpy as np
import pytest
from queues import CAPACITY, due_at, served

from bench.predict.held import EASILY, Objective, held, is_clear, needed, part
from bench.predict.search import (
    ABOVE,
    BELOW,
    FOUND,
    SPENT,
    Probe,
    Terms,
    belief,
    ended,
    next_rate,
)
from bench.runs.early import FIRST_S, MORE

P99 = Objective({"p99": 100.0})
TERMS = Terms(start=0.8 * CAPACITY, floor=CAPACITY / 20, ceiling=4 * CAPACITY)


def queue(
    rate: float, length_s: float, chance: np.random.Generator, *, poisson: bool, warmup_s: float = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Due times and latencies in ms, of what is due after the warm-up."""
    due = due_at(rate, length_s + warmup_s, chance, poisson=poisson)
    done = np.array([one[1] for one in served(due) if one])
    counts = due >= warmup_s
    return due[counts] - warmup_s, 1e3 * (done - due)[counts]


def probe(rate: float, chance: np.random.Generator, *, poisson: bool) -> tuple[bool | None, float]:
    """What a probe of 20 s at most finds, and how long it takes."""
    # What the machine can take differs by a percent from run to run.
    due, latencies = queue(rate * (1 + 0.01 * chance.normal()), 20.0, chance, poisson=poisson)
    look_s = FIRST_S
    while look_s < 20:
        seen = latencies[due < look_s]
        if is_clear(P99, seen):
            return held(P99, seen).held, look_s
        look_s *= MORE
    return held(P99, latencies).held, 20.0


def search(seed: int, *, poisson: bool) -> tuple[list[Probe], float]:
    """A whole search, and how long its probes take."""
    chance, probes, took_s = np.random.default_rng(seed), list[Probe](), 0.0
    while (rate := next_rate(probes, TERMS)) is not None:
        found, length_s = probe(rate, chance, poisson=poisson)
        probes.append(Probe(rate, found))
        took_s += length_s
    return probes, took_s


@pytest.mark.parametrize(
    ("poisson", "true"), [(False, CAPACITY), (True, 0.945 * CAPACITY)], ids=["constant", "poisson"]
)
def test_the_rate_is_found_within_5_percent(poisson: bool, true: float) -> None:  # noqa: FBT001
    """At equal distances it is the capacity. At random ones it is less: in a simulation of an hour
    1 % of the requests take longer than 100 ms at 94 to 95 % of the capacity.
    """
    found = []
    for seed in range(20):
        probes, took_s = search(seed, poisson=poisson)
        assert ended(probes, TERMS) == FOUND
        assert took_s < 300
        found.append(belief(probes, TERMS))
    near = sum(abs(one.rate / true - 1) <= 0.05 for one in found)
    assert near >= 19, [one.rate / true for one in found]
    assert all(one.low < one.rate < one.high for one in found)
    assert all(one.within <= TERMS.within for one in found)


def test_a_search_depends_on_nothing_but_its_probes() -> None:
    probes, _ = search(1, poisson=True)
    for done in range(len(probes)):
        assert next_rate(probes[:done], TERMS) == probes[done].rate
    assert next_rate(probes, TERMS) is None


@pytest.mark.parametrize(
    ("true", "how"), [(TERMS.floor / 2, BELOW), (2 * TERMS.ceiling, ABOVE), (CAPACITY, FOUND)]
)
def test_a_search_ends_also_where_there_is_no_such_rate(true: float, how: str) -> None:
    probes: list[Probe] = []
    while (rate := next_rate(probes, TERMS)) is not None:
        assert TERMS.floor <= rate <= TERMS.ceiling
        probes.append(Probe(rate, held=rate < true))
    assert ended(probes, TERMS) == how
    if how == FOUND:
        assert belief(probes, TERMS).low < true < belief(probes, TERMS).high


def test_a_wrong_probe_is_overruled() -> None:
    probes: list[Probe] = []
    while (rate := next_rate(probes, TERMS)) is not None:
        lie = len(probes) == 3
        probes.append(Probe(rate, held=(rate < CAPACITY) is not lie))
    assert ended(probes, TERMS) == FOUND
    assert abs(belief(probes, TERMS).rate / CAPACITY - 1) < 0.05


def test_probes_that_are_never_clear_end_the_search_too() -> None:
    probes: list[Probe] = []
    while (rate := next_rate(probes, TERMS)) is not None:
        probes.append(Probe(rate, held=None))
    assert ended(probes, TERMS) == SPENT
    assert len(probes) == TERMS.most


def latencies(slow: int, count: int, *, lost: int = 0, burst: bool = False) -> np.ndarray:
    """So many of the requests take 200 ms, or are lost, the others 10; in a burst or spread out."""
    told = np.full(count, 10.0)
    bad = np.array([200.0] * slow + [np.inf] * lost)
    at = np.arange(len(bad)) if burst else np.linspace(0, count - 1, len(bad)).astype(int)
    told[at] = bad
    return told


@pytest.mark.parametrize(
    ("told", "verdict", "broke"),
    [
        (latencies(0, needed(P99.limits_ms) + 1), True, None),
        (latencies(0, needed(P99.limits_ms) - 20), None, None),
        (latencies(10, 1000), None, None),
        (latencies(40, 1000), False, "p99"),
        (latencies(40, 1000, burst=True), None, None),  # it may have been one accident
        (latencies(2, 2000), True, None),
        (latencies(0, 2000, lost=12), False, "errors"),
        (latencies(0, 2000, lost=1), True, None),
        (latencies(0, 0), None, None),
    ],
)
def test_a_probe_holds_breaks_or_is_unclear(
    told: np.ndarray,
    verdict: bool | None,  # noqa: FBT001
    broke: str | None,
) -> None:
    found = held(P99, told)
    assert (found.held, found.broke) == (verdict, broke)
    assert found.requests == len(told)


def test_a_run_ends_early_only_where_more_of_it_would_say_the_same() -> None:
    stood_still = np.concatenate([latencies(40, 500, burst=False), latencies(0, 500)])
    assert held(P99, stood_still).held is False
    assert not is_clear(P99, stood_still)
    assert is_clear(P99, np.tile(latencies(80, 500), 2))
    assert is_clear(P99, latencies(0, 1000))
    assert not is_clear(P99, latencies(0, 300))
    assert not is_clear(P99, np.full(1000, 100 * EASILY + 1))


def test_each_limit_must_hold() -> None:
    told = np.random.default_rng(4).permutation(np.linspace(1, 100, 2000))
    assert held(Objective({"p50": 60.0, "p99": 110.0}), told).held
    assert held(Objective({"p50": 40.0, "p99": 110.0}), told).broke == "p50"
    assert held(Objective({"p50": 60.0, "p99": 110.0}), told).good == 1


def test_an_interval_holds_what_it_should() -> None:
    chance = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        _, low, high = part(chance.random(800) < 0.02, sure_z=1.96)
        inside += low <= 0.02 <= high
    assert inside >= 275
