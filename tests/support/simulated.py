"""Jobs by the thousand that were never measured: blocks of slices, on a machine that is noisy.

The noise is that of one-second slices as recorded on a shared machine: a random walk,
autocorrelation and heavy tails, 4 % from one slice to the next.
"""

import numpy as np
import numpy.typing as npt

from bench.compare.randomization import Floats

SCALE = 0.04
JOBS = 1500
MOST = 150
"""Ten minutes of blocks of four slices of a second."""
MS = {"decode": 3.0, "inference": 5.0, "queue": 1.0, "send": 1.0}
"""Milliseconds of the simulated stages: decode makes 30 % of the latency."""


def noise(jobs: int, slices: int, random: np.random.Generator, scale: float = SCALE) -> Floats:
    """The logarithm of what disturbs each slice, [slices, jobs]."""
    shocks = random.normal(0, 0.6 * scale, (slices, jobs))
    for at in range(1, slices):
        shocks[at] += 0.6 * shocks[at - 1]
    drift = np.cumsum(random.normal(0, 0.3 * scale, (slices, jobs)), axis=0)
    return drift + shocks + random.standard_t(3, (slices, jobs)) * 0.5 * scale


def tosses(jobs: int, blocks: int, random: np.random.Generator) -> Floats:
    """1 for ABBA and -1 for BAAB, [blocks, jobs]."""
    return random.choice([-1.0, 1.0], (blocks, jobs))


def stages_of(
    tossed: Floats, random: np.random.Generator, *, slower: float
) -> tuple[dict[str, Floats], npt.NDArray[np.bool_]]:
    """What each stage takes in MOST blocks in whose slices of B decode takes longer by that part,
    each [slices, jobs]; and which slices these are.
    """
    jobs, of_b = tossed.shape[1], slowed(tossed)
    machine = noise(jobs, 4 * MOST, random)
    took = {
        name: ms * np.exp(machine + noise(jobs, 4 * MOST, random, SCALE / 4))
        for name, ms in MS.items()
    }
    took["decode"] *= np.where(of_b, 1 + slower, 1.0)
    return took, of_b


def in_blocks(slices: Floats, tossed: Floats) -> Floats:
    """B less A of each block, [blocks, jobs], from the values of its slices, [slices, jobs]."""
    four = slices.reshape(len(tossed), 4, -1)
    return tossed * (four[:, [1, 2]].mean(axis=1) - four[:, [0, 3]].mean(axis=1))


def jobs_of(
    random: np.random.Generator, *, blocks: int = MOST, jobs: int = JOBS, effect: float = 0.0
) -> Floats:
    """Logarithms of B over A of so many jobs with a true difference, [blocks, jobs]."""
    tossed = tosses(jobs, blocks, random)
    return in_blocks(noise(jobs, 4 * blocks, random), tossed) + effect


def slowed(tossed: Floats) -> npt.NDArray[np.bool_]:
    """Which slices are B's, [slices, jobs]."""
    turns = np.tile([-1.0, 1.0, 1.0, -1.0], len(tossed))[:, np.newaxis]
    whose: npt.NDArray[np.bool_] = np.repeat(tossed, 4, axis=0) * turns > 0
    return whose
