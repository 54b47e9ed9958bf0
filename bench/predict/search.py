"""The search for the highest rate that holds an objective: from the probes so far to the next rate.

A pure function of what was found, so that a search can be stopped and gone on with. At first the
rate is bracketed by factors; then it is a probabilistic bisection: the next probe is at the median
of what is believed of the rate, because a probe tells most where it may go either way (Waeber,
Frazier and Henderson 2013, Bisection Search with Noisy Responses). What a probe says of the rate R
is taken as a psychometric function (Watson and Pelli 1983, QUEST): it holds with the chance
1 / (1 + (rate / R)^(1/SCATTER)), but with the chance LAPSE it says anything. An unclear one says
that the rate is near.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

SCATTER = 0.012
"""By so much, in parts of one, what the same machine can take differs from probe to probe."""

LAPSE = 0.06
UNCLEAR = 0.03
"""As SCATTER, of how near an unclear probe is."""

LEVEL = 0.95
UP, DOWN = 1.35, 0.5
"""The factors by which a bracket is sought."""

_STEP = 0.001

Floats = npt.NDArray[np.float64]


class Probe(msgspec.Struct, frozen=True):
    """What was found at a rate: whether it held the objective, None where that is unclear."""

    rate: float
    held: bool | None


class Terms(msgspec.Struct, frozen=True):
    """Where a search begins, between which rates it looks, how near it comes, as a part of the
    rate, and after how many probes it ends at the latest.
    """

    start: float
    floor: float
    ceiling: float
    within: float = 0.03
    most: int = 24


class Belief(msgspec.Struct, frozen=True):
    """The rate: its median, and the interval in which it is by 95 %."""

    rate: float
    low: float
    high: float

    @property
    def within(self) -> float:
        """How far the interval reaches, as a part of the rate."""
        return float(np.sqrt(self.high / self.low) - 1) if self.low else float("inf")


BELOW, ABOVE, FOUND, SPENT = "below the floor", "above the ceiling", "found", "spent"
"""How a search ends: not even the lowest rate holds, or even the highest; it is known within the
terms, or the probes are used up.
"""


def ended(probes: Sequence[Probe], terms: Terms) -> str | None:
    """Return how the search has ended, None where it goes on."""
    bracketed = _bracketed(probes)
    if not bracketed:
        if any(one.rate <= terms.floor and one.held is False for one in probes):
            return BELOW
        if any(one.rate >= terms.ceiling and one.held for one in probes):
            return ABOVE
    elif belief(probes, terms).within <= terms.within:
        return FOUND
    return SPENT if len(probes) >= terms.most else None


def next_rate(probes: Sequence[Probe], terms: Terms) -> float | None:
    """Return the rate to probe next, None when the search has ended."""
    if ended(probes, terms):
        return None
    if _bracketed(probes):
        return belief(probes, terms).rate
    held = [one.rate for one in probes if one.held]
    broken = [one.rate for one in probes if one.held is False]
    rate = terms.start
    if held:
        rate = max(held) * UP ** len(held)
    elif broken:
        rate = min(broken) * DOWN
    elif probes:  # all of them unclear, so it is near
        rate = probes[-1].rate * (UP if len(probes) % 2 else 1 / UP)
    return float(np.clip(rate, terms.floor, terms.ceiling))


def belief(probes: Sequence[Probe], terms: Terms) -> Belief:
    """Return what the probes say of the rate; before there is any, that it is anywhere."""
    grid = np.arange(np.log(terms.floor), np.log(terms.ceiling) + _STEP, _STEP)
    chances = np.zeros(len(grid))
    for one in probes:
        chances += np.log(_said(one, grid))
    weights = np.exp(chances - chances.max())
    below = np.cumsum(weights) / weights.sum()
    tail = (1 - LEVEL) / 2
    low, middle, high = (
        float(np.exp(grid[min(int(np.searchsorted(below, at)), len(grid) - 1)]))
        for at in (tail, 0.5, 1 - tail)
    )
    return Belief(middle, low, high)


def _said(one: Probe, grid: Floats) -> Floats:
    """The chance of what a probe found, were the rate that holds each of the grid."""
    scatter = UNCLEAR if one.held is None else SCATTER
    away = np.clip((grid - np.log(one.rate)) / scatter, -50, 50)
    holds = 1 / (1 + np.exp(-away))
    if one.held is None:
        near = 4 * holds * (1 - holds)
        return np.asarray(LAPSE + (1 - LAPSE) * near)
    return np.asarray(LAPSE / 2 + (1 - LAPSE) * (holds if one.held else 1 - holds))


def _bracketed(probes: Sequence[Probe]) -> bool:
    """Whether there are one that held and one that did not."""
    return {True, False} <= {one.held for one in probes}
