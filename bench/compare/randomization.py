"""Is B different from A, by how much, and how sure is that: the statistics of paired blocks.

A block is four slices in the order ABBA or BAAB, drawn at random, so that a drift of the machine
hits both sides alike. What is compared is the logarithm of B over A in each block.

- Whether there is a difference is judged by the randomization test (Fisher 1935, The Design of
  Experiments, ch. 3): were A and B the same, each block's sign was a coin toss. It holds whatever
  the noise is like, because the tosses were ours.
- How large it is comes with a symmetric bootstrap-t interval over blocks (Hall 1988, On symmetric
  bootstrap confidence intervals), since requests within a block are not independent.
- The data is looked at after LOOKS blocks. Each look, and each question asked of the same blocks,
  may find a difference with an equal part of the allowed rate of false alarms (Bonferroni).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

LOOKS = (14, 21, 32, 48, 72, 108)
"""After so many blocks the data is looked at. At the first, tosses are many enough to answer some
twenty questions; fewer looks leave each a larger part of the rate.
"""

LEVEL = 0.95
RESAMPLES = 4_999
FLIPS = 49_999
FEWEST = 3
"""Fewer blocks or runs say nothing about the noise."""

_STUDENT = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}
"""Student's t at LEVEL by degrees of freedom: resamples of fewer blocks repeat each other."""

_TOSSES = 30_000_000

Floats = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Difference:
    """B over A as a ratio, 1 where they are alike.

    `low` to `high` covers the truth in LEVEL of all experiments. `chance` is how often coin tosses
    alone would give a ratio as far from 1: never less than 2 in 2 ** blocks, nor than
    1 / (FLIPS + 1).
    """

    ratio: float
    low: float
    high: float
    chance: float
    blocks: int

    @property
    def half_width(self) -> float:
        """Half of the interval, as a part of the ratio."""
        return (self.high - self.low) / 2 / self.ratio


def difference(blocks: Floats, *, seed: int = 1) -> Difference:
    """Return what the blocks say; `blocks` [blocks] is the logarithm of B over A in each.

    Raises ValueError with fewer than FEWEST, or with one that is not finite.
    """
    return differences(blocks[:, np.newaxis], seed=seed)[0]


def differences(
    blocks: Floats, *, seed: int = 1, resamples: int = RESAMPLES, flips: int = FLIPS
) -> list[Difference]:
    """Return what the same blocks say to each question; `blocks` is [blocks, questions].

    All questions share the tosses and the resamples, as they shared the blocks. Raises ValueError
    as `difference` does.
    """
    _check(blocks)
    drawn, signs = _tossed(len(blocks), seed, resamples, flips)
    low, high = _interval(blocks, drawn)
    chance = _part(np.abs(_sums(signs, blocks)) >= _reached(np.abs(blocks.sum(axis=0))), signs)
    ratio = np.exp(blocks.mean(axis=0))
    columns = (ratio, np.exp(low), np.exp(high), chance)
    return [
        Difference(float(ratio), float(low), float(high), float(chance), blocks=len(blocks))
        for ratio, low, high, chance in zip(*columns, strict=True)
    ]


def chance_beyond(blocks: Floats, *, factor: float, above: bool) -> float:
    """Return how often coin tosses give as large a ratio were the true one `factor`.

    One-sided: with `above` false, as small a ratio. `factor` is positive, 1.05 for what may be 5 %
    more; `blocks` as for `difference`, which also says what is raised.
    """
    away = (blocks - np.log(factor)) * (1 if above else -1)
    return float(chances_above(away[:, np.newaxis])[0])


def chances_above(blocks: Floats, *, seed: int = 1) -> Floats:
    """Return how often coin tosses give as large a ratio were the true one 1, [questions].

    `blocks` and what is raised are as for `differences`.
    """
    _check(blocks)
    _, signs = _tossed(len(blocks), seed, 0, FLIPS)
    return _part(_sums(signs, blocks) >= _reached(blocks.sum(axis=0)), signs)


def between(a: Floats, b: Floats, *, seed: int = 1) -> Difference:
    """Return what two samples say that nothing pairs: `a` and `b` are logarithms of any number.

    The chance is of dealing all values to two hands again (a permutation test), the interval a
    bootstrap-t of both. `blocks` of the answer is the smaller number. Raises ValueError as
    `difference` does.
    """
    _check(a[:, np.newaxis])
    _check(b[:, np.newaxis])
    random = np.random.default_rng(seed)
    gap, fewest = float(b.mean() - a.mean()), min(len(a), len(b))
    error = np.hypot(_error(a), _error(b))
    if fewest - 1 in _STUDENT or error <= _negligible(gap):
        t = _STUDENT.get(fewest - 1, 0.0)
        low, high = gap - t * error, gap + t * error
    else:
        drawn = [one[random.integers(0, len(one), (RESAMPLES, len(one)))] for one in (a, b)]
        errors = np.hypot(_error(drawn[0]), _error(drawn[1]))
        off = drawn[1].mean(axis=1) - drawn[0].mean(axis=1) - gap
        reach = _reach(off, errors) * error
        low, high = gap - reach, gap + reach
    hands = random.permuted(np.tile(np.concatenate([a, b]), (FLIPS // 5, 1)), axis=1)
    dealt = hands[:, len(a) :].mean(axis=1) - hands[:, : len(a)].mean(axis=1)
    as_far = int((np.abs(dealt) >= _reached(np.abs(np.array(gap)))).sum())
    return Difference(
        ratio=float(np.exp(gap)),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        chance=(1 + as_far) / (1 + len(hands)),
        blocks=fewest,
    )


def mean_within(values: Floats, *, seed: int = 1) -> tuple[float, float]:
    """Return the interval of the geometric mean of positive `values`, [observations].

    Raises ValueError with fewer than FEWEST.
    """
    logs = np.log(values)[:, np.newaxis]
    _check(logs)
    drawn, _ = _tossed(len(logs), seed, RESAMPLES, FLIPS)
    low, high = _interval(logs, drawn)
    return float(np.exp(low[0])), float(np.exp(high[0]))


def _check(blocks: Floats) -> None:
    if len(blocks) < FEWEST:
        raise ValueError(f"{FEWEST} blocks or more are needed, not {len(blocks)}")
    if not np.isfinite(blocks).all():
        raise ValueError("a block has no logarithm of B over A")


def _error(values: Floats) -> Floats:
    """The standard error of the mean, of the last axis."""
    found: Floats = values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])
    return found


def _negligible(scale: Floats | float) -> Floats | float:
    """An error that is nothing but rounding: all blocks say the same."""
    return 1e-12 * (1 + np.abs(scale))


@lru_cache(maxsize=2)
def _tossed(count: int, seed: int, resamples: int, flips: int) -> tuple[Floats, Signs]:
    """What all questions to so many blocks share: the resamples' weights, and the tosses.

    The weights are [resamples, blocks]; the tosses are as `_signs` returns them.
    """
    random = np.random.default_rng(seed)
    few = not resamples or count - 1 in _STUDENT
    drawn = random.multinomial(count, np.full(count, 1 / count), 0 if few else resamples) / count
    return drawn, _signs(count, random, flips)


def _interval(blocks: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """The interval of each mean, from what resampled means are off, each by its own error."""
    count, mean = len(blocks), blocks.mean(axis=0)
    error = _error(blocks.T)
    if count - 1 in _STUDENT:
        return mean - _STUDENT[count - 1] * error, mean + _STUDENT[count - 1] * error
    low, high = mean.copy(), mean.copy()
    for column in np.flatnonzero(error > _negligible(mean)):
        centred = (blocks[:, column] - mean[column]) / error[column]
        off = drawn @ centred
        errors = np.sqrt(np.maximum(drawn @ centred**2 - off**2, 0) / (count - 1))
        reach = _reach(off, errors) * error[column]
        low[column] -= reach
        high[column] += reach
    return low, high


def _reach(off: Floats, errors: Floats) -> float:
    """How many of its own errors a resampled mean is off at most, in LEVEL of the resamples."""
    known = errors > 1e-9 * errors.max()  # else a resample of one value over and over
    return float(np.quantile(np.abs(off[known]) / errors[known], LEVEL))


def _signs(count: int, random: np.random.Generator, flips: int) -> Signs:
    """Tosses for so many blocks, [tosses, blocks], the one that happened among them.

    All there are where those are not more than `flips`.
    """
    if 2**count <= flips + 1:
        every = np.arange(2**count)[:, np.newaxis] >> np.arange(count) & 1
        return (1 - 2 * every).astype(np.int8)
    tossed = random.integers(0, 2, (flips + 1, count), dtype=np.int8) * 2 - 1
    tossed[0] = 1
    return tossed


def _sums(signs: Signs, blocks: Floats) -> Floats:
    """What each toss would have summed up to, [tosses, questions]."""
    rows = max(1, _TOSSES // (8 * max(blocks.shape)))
    return np.concatenate(
        [signs[at : at + rows].astype(np.float64) @ blocks for at in range(0, len(signs), rows)]
    )


def _reached(sums: Floats) -> Floats:
    """What counts as being as far: rounding must not hide the toss that happened."""
    reached: Floats = sums - 1e-12 * (1 + np.abs(sums))
    return reached


def _part(as_far: npt.NDArray[np.bool_], signs: npt.NDArray[np.int8]) -> Floats:
    part: Floats = as_far.sum(axis=0) / len(signs)
    return part


def looks(most: int) -> list[int]:
    """Return after how many blocks to look when there can be `most`: at most len(LOOKS) times."""
    return [count for count in LOOKS[:-1] if count < most] + [most]


def is_sure(
    chance: float | None, *, rate: float, looks: int = len(LOOKS), questions: int = 1
) -> bool:
    """Whether a difference of that chance is significant, where there can be so many looks.

    All looks together, and all questions asked of the same blocks, raise a false alarm in at most
    `rate` of the experiments without a difference.
    """
    return chance is not None and chance <= rate / (looks * questions)


def explained(moved: Mapping[str, float]) -> dict[str, float]:
    """Return each stage's part of the difference of the mean latencies, largest first.

    `moved` is how much longer each takes in B. The parts sum to 1; a stage that moved against the
    whole has a negative one. Empty where the means are alike.
    """
    total = sum(moved.values())
    parts = {stage: longer / total for stage, longer in moved.items()} if total else {}
    return dict(sorted(parts.items(), key=lambda part: -part[1]))
