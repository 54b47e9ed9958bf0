"""Quantiles of recorded values, with the interval that they are in, and without one where there are
too few values to tell.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""How sure an interval is."""

BEYOND = 5
"""So many values must lie beyond a quantile, in the mean, before it is told: a p99 needs 500."""


FEWEST = 6
"""Of fewer runs no two enclose the true median with LEVEL."""


class Quantile(msgspec.Struct, frozen=True):
    """A quantile and its interval, in the unit of the values. All three are None where there are
    fewer values than it `needs`.
    """

    value: float | None
    low: float | None
    high: float | None
    needs: int


def needed(part: float) -> int:
    """Return how many values the quantile needs, of a part from 0 to 1."""
    return math.ceil(round(BEYOND / min(part, 1 - part), 6))


def quantile(values: npt.NDArray[np.float64], part: float) -> Quantile:
    """Return the quantile of values in ascending order.

    The interval is between two order statistics (David and Nagaraja, Order Statistics, 2003, 7.1):
    the number of values below the true quantile is binomial, whatever their distribution. It takes
    them as independent; requests that wait for each other are less so, and the interval is then
    too narrow.
    """
    count, needs = len(values), needed(part)
    if count < needs:
        return Quantile(None, None, None, needs)
    first, last = _ranks(count, part)
    low, high = float(values[max(first - 1, 0)]), float(values[min(last - 1, count - 1)])
    return Quantile(float(np.quantile(values, part)), low, high, needs)


def over_runs(values: Sequence[float]) -> Quantile:
    """Return the median of what single runs gave, one value each, and its interval: of fewer than
    FEWEST runs, from the least to the most. Raises ValueError without a run.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no median of no runs")
    first, last = _ranks(len(ordered), 0.5)
    return Quantile(float(np.median(ordered)), ordered[first - 1], ordered[last - 1], 1)


@lru_cache(maxsize=1024)
def _ranks(count: int, part: float) -> tuple[int, int]:
    """The ranks, from 1, of the values between which the quantile is with LEVEL at least."""
    tail = (1 - LEVEL) / 2
    spread = 12 * math.sqrt(count * part * (1 - part)) + 2
    start = max(0, math.floor(count * part - spread))
    numbers = np.arange(start, min(count, math.ceil(count * part + spread)) + 1)
    below = np.cumsum(np.exp(_log_binomial(numbers, count, part)))
    first = int(numbers[np.searchsorted(below, tail, side="right")])
    last = int(numbers[min(int(np.searchsorted(below, 1 - tail)), len(numbers) - 1)]) + 1
    return max(1, first), min(count, last)


def _log_binomial(numbers: npt.NDArray[np.int64], count: int, part: float) -> Sequence[float]:
    """The logarithm of the chance that so many of `count` are below the quantile."""
    whole = math.lgamma(count + 1)
    return [
        whole
        - math.lgamma(number + 1)
        - math.lgamma(count - number + 1)
        + number * math.log(part)
        + (count - number) * math.log1p(-part)
        for number in numbers.tolist()
    ]
