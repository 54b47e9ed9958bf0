"""The knee: the load from which on throughput no longer grows, with its uncertainty.

Throughput over load is taken for two straight lines that meet: X = min(load / takes, capacity).

- Of an open loop the first line is known, for what is offered comes through: `takes` is 1.
- Of a closed one with N users they are the asymptotic bounds of a closed network, X <= N / (R + Z)
  and X <= 1 / D_max, which meet at N* (Denning and Buzen 1978, The Operational Analysis of Queueing
  Network Models, 5.2): `takes` is what a lone user's round takes, R + Z.

The fit is least squares on logarithms, for the noise of a machine is a part of its throughput. The
interval is that of the profile likelihood (Bates and Watts 1988, Nonlinear Regression Analysis,
6.1): every capacity at which the fit is not significantly worse. It is in no interval that there is
a knee where the first line alone would do.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

LEVEL_Z = 1.959964
"""Of the normal distribution: 95 % lie within so many deviations."""

NOISE = 0.01
"""By so much, in parts of one, the same load's throughput differs from run to run at least."""

_GRID = 2_001
_BEYOND = 1.5

Floats = npt.NDArray[np.float64]


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """Where the lines meet: the load `at` it, a rate or a number of users, and the `capacity_per_s`
    from there on, each with its interval. `takes_s` is as in this module's words.
    """

    at: float
    at_low: float
    at_high: float
    capacity_per_s: float
    capacity_low: float
    capacity_high: float
    takes_s: float


def knee(
    loads: Sequence[float], throughputs_per_s: Sequence[float], *, closed: bool = False
) -> Knee | None:
    """Return the knee of points with these loads: what was offered a second, or users of a `closed`
    loop. None where throughput grew to the last, so that there is none among them.
    """
    told = [(x, y) for x, y in zip(loads, throughputs_per_s, strict=True) if x > 0 and y > 0]
    if len(told) < 2 + closed:
        return None
    points = np.log(np.array(told))
    x, y = points[:, 0], points[:, 1]
    grid = np.linspace(y.min(), y.max() + math.log(_BEYOND), _GRID)
    takes, squares = _profile(x, y, grid, closed=closed)
    best = int(np.argmin(squares))
    free = len(x) - 1 - closed
    variance = max(float(squares[best]) / free, NOISE**2)
    likely = squares <= squares[best] + variance * _student(free) ** 2
    straight = float(np.sum((y - x + np.mean(x - y) * closed) ** 2))
    if straight <= squares[best] + variance * _student(free) ** 2:
        return None
    at = np.exp(grid + takes)
    capacities = np.exp(grid)
    return Knee(
        at=float(at[best]),
        at_low=float(at[likely].min()),
        at_high=float(at[likely].max()),
        capacity_per_s=float(capacities[best]),
        capacity_low=float(capacities[likely].min()),
        capacity_high=float(capacities[likely].max()),
        takes_s=float(np.exp(takes[best])),
    )


def _profile(x: Floats, y: Floats, grid: Floats, *, closed: bool) -> tuple[Floats, Floats]:
    """The logarithm of what a round takes that fits best with each capacity of the grid, and the
    sum of squares that is left; all in logarithms.
    """
    offered = np.zeros((1, 1))
    if closed:  # a round takes what one of the points says, or the mean of those below the knee
        order = np.argsort(x)
        means = np.cumsum((x - y)[order]) / np.arange(1, len(x) + 1)
        offered = np.concatenate([x - y, means])[:, np.newaxis]
    left = np.minimum(x[np.newaxis, np.newaxis, :] - offered[:, :, np.newaxis], grid[:, np.newaxis])
    squares = ((y - left) ** 2).sum(axis=2)
    which = np.argmin(squares, axis=0)
    return offered[which, 0], squares[which, np.arange(len(grid))]


def _student(free: int) -> float:
    """The quantile of Student's t within which 95 % are (Abramowitz and Stegun 1964, 26.7.5; of one
    or two degrees of freedom, where the series is poor, as tabled).
    """
    z, exact = LEVEL_Z, {1: 12.706, 2: 4.303}
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return exact.get(free, z + first / free + second / free**2 + third / free**3)
