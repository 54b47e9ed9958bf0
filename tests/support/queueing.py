"""Queueing theory: what a load should wait, by formula and by recursion, and how sure a mean is."""

import heapq
import itertools
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CRITICAL = 1.95
"""Of Kolmogorov and Smirnov's statistic, times the root of the sample's size, at 0.1 %."""


def distance(gaps: Floats, rate: float) -> float:
    """How far the gaps are from exponential ones, as a multiple of what chance explains."""
    ordered = np.sort(gaps)
    wanted = 1 - np.exp(-rate * ordered)
    steps = np.arange(len(gaps) + 1) / len(gaps)
    apart = np.maximum(np.abs(wanted - steps[1:]), np.abs(wanted - steps[:-1])).max()
    return float(apart * np.sqrt(len(gaps)) / CRITICAL)


def one_server(rate: float, services: Floats) -> float:
    """The mean wait in M/G/1 (Pollaczek 1930, Khinchine 1932): rate E[S^2] / 2 (1 - rate E[S])."""
    load = rate * services.mean()
    return float(rate * (services**2).mean() / (2 * (1 - load)))


def constant_service(rate: float, service: float, *, servers: int) -> float:
    """The mean wait in M/D/c (Crommelin 1932), which is exact: with X of Poisson's distribution of
    the mean k c u, u being the load, it is the service times the sum over k = 1, 2, ... of
    P(X >= kc) - P(X > kc) / u.
    """
    load = rate * service / servers
    total = 0.0
    for k in itertools.count(1):
        mean, least = k * servers * load, k * servers
        at = math.exp(least * math.log(mean) - mean - math.lgamma(least + 1))
        ratios = mean / np.arange(least + 1, least + 2000)
        above = at * float(np.cumprod(ratios).sum())
        term = at + above - above / load
        total += term
        if term < 1e-9 * total:
            return service * total
    raise AssertionError


def waits(arrivals: Floats, services: Floats, *, servers: int) -> Floats:
    """What each waits who comes then and is served so long, first come first served (Lindley 1952;
    Kiefer and Wolfowitz 1955).
    """
    free = [-math.inf] * servers
    found = []
    for arrival, service in zip(arrivals.tolist(), services.tolist(), strict=True):
        begins = max(arrival, free[0])
        heapq.heapreplace(free, begins + service)
        found.append(begins - arrival)
    return np.array(found)


def interval(values: Floats, *, batches: int = 30) -> tuple[float, float]:
    """Where the mean lies of values that depend on those before: by means of batches, each longer
    than that lasts, and Student's 99.9 % for 29 degrees of freedom.
    """
    means = np.array([batch.mean() for batch in np.array_split(values, batches)])
    apart = 3.66 * means.std(ddof=1) / math.sqrt(batches)
    return float(means.mean() - apart), float(means.mean() + apart)
