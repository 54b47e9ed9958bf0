"""Arrivals at a mean rate of one a unit of time, as pure functions of a seed and their numbers.

A rate that changes stretches them (`rates`), so that each kind of arrivals has each kind of rate.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipelines.errors import VisiontaxError

Floats = npt.NDArray[np.float64]
Gaps = Callable[[np.random.Generator, int], Floats]

BLOCK = 1024
"""So many gaps are drawn together; who asks for one draws all of them."""

CV = 3.0
"""The coefficient of variation of bursty gaps: their deviation by their mean. Poisson's is 1."""


def constant(_: np.random.Generator, count: int) -> Floats:
    """Return gaps that are all alike."""
    return np.ones(count)


def poisson(draw: np.random.Generator, count: int) -> Floats:
    """Return gaps between independent arrivals: exponential ones."""
    return draw.standard_exponential(count)


def bursty(draw: np.random.Generator, count: int) -> Floats:
    """Return gaps of a gamma distribution whose coefficient of variation is CV.

    Its shape is 1 / CV^2, and its scale CV^2, so that the mean is 1.
    """
    return draw.gamma(1 / CV**2, CV**2, count)


ARRIVALS: dict[str, Gaps] = {"poisson": poisson, "constant": constant, "bursty": bursty}
"""The kinds of arrivals, by name."""


class Arrivals:
    """The moments of arrivals 0, 1, 2, ... of one kind and seed."""

    def __init__(self, kind: str, *, seed: int) -> None:
        """Raises VisiontaxError listing the known kinds."""
        if kind not in ARRIVALS:
            raise VisiontaxError(f"unknown arrivals: {kind}", hint=f"known: {', '.join(ARRIVALS)}")
        self._gaps, self._seed = ARRIVALS[kind], seed
        self._starts = [0.0]

    def _block(self, number: int) -> Floats:
        return self._gaps(np.random.default_rng([self._seed, number]), BLOCK)

    def times(self, block: int) -> Floats:
        """Return the moments of the BLOCK arrivals from number BLOCK * block on.

        Each is one gap after the one before; the first is one gap after 0.
        """
        while len(self._starts) <= block:
            self.times(len(self._starts) - 1)
        times: Floats = self._starts[block] + np.cumsum(self._block(block))
        if len(self._starts) == block + 1:
            self._starts.append(float(times[-1]))
        return times
