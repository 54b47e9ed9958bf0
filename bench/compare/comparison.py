"""From observations of A and B to what is known of them: a row a metric, and what explains it.

Two questions each have the allowed rate of false alarms for themselves: whether the mean latency
differs, and whether any other row does. Each look has an equal part, and so has each other row.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from bench.compare.observations import QUANTILES, STAGE, Interval, Observations
from bench.compare.randomization import (
    FEWEST,
    Difference,
    Floats,
    between,
    difference,
    differences,
    explained,
    is_sure,
    mean_within,
)

SCHEMA = 1
RATE = 0.05
BETTER, WORSE, SAME, DOUBTFUL = "+", "-", "~", "!"
MORE_IS_BETTER = ("throughput",)

Remark = tuple[str | int, ...]
"""Something to be said: the name of one of the report's sentences, and what fills it."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side: what it is, its runs, and the codes of the issues that make one INVALID."""

    label: str
    runs: list[str]
    valid: bool
    issues: list[str]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: `throughput` in requests/s, the others in ms.

    `a` and `b` are geometric means over the observations that `ratio`, B over A, comes from. They
    are None of a stage that a side has not, and of a quantile that needs more requests; then there
    is no ratio. `low` to `high` covers the true ratio in 95 % of all comparisons, `chance` is how
    often coin tosses alone give one as far from 1; None of fewer than three observations.
    `a_within` and `b_within` are the same interval of a quantile's `a` and `b`, and of two
    observations both of them.
    """

    metric: str
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    mark: str = SAME
    a_within: Interval | None = None
    b_within: Interval | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """B against A.

    `observations` are those of A and of B: blocks of an experiment, or runs. `explained` is each
    stage's part of the difference of the mean latencies, empty unless that is significant.
    `doubts` are why nothing here is to be trusted, `notes` what else there is to know.
    """

    schema: int = SCHEMA
    a: Side
    b: Side
    unit: str
    observations: tuple[int, int]
    paired: bool
    shared: list[str]
    rate: float
    looks_at_most: int
    rows: list[Row]
    explained: dict[str, float]
    doubts: list[Remark]
    notes: list[Remark]

    @property
    def valid(self) -> bool:
        """Whether the runs of both sides are."""
        return self.a.valid and self.b.valid


def compare(
    seen: Observations,
    *,
    a: Side,
    b: Side,
    unit: str,
    shared: Sequence[str] = (),
    doubts: Sequence[Remark] = (),
    notes: Sequence[Remark] = (),
    looks_at_most: int = 1,
    rate: float = RATE,
) -> Comparison:
    """Return the comparison of the observations, each of which is a `unit`: block or run."""
    rows = find(seen)
    tested = sum(row.chance is not None and row.metric != "mean" for row in rows)
    sides = (("A", a), ("B", b))
    invalid = [("invalid", name, ", ".join(one.issues)) for name, one in sides if not one.valid]
    doubts = [*invalid, *doubts, *_few(seen, unit)]
    rows = [
        msgspec.structs.replace(
            row,
            mark=_mark(row, rate=rate, looks=looks_at_most, others=tested, doubtful=bool(doubts)),
        )
        for row in rows
    ]
    (mean,) = (row for row in rows if row.metric == "mean")
    sure = is_sure(mean.chance, rate=rate, looks=looks_at_most)
    left_out: list[Remark] = [("left out", len(seen.left_out))] if seen.left_out else []
    return Comparison(
        a=a,
        b=b,
        unit=unit,
        observations=seen.counts,
        paired=seen.paired,
        shared=list(shared),
        rate=rate,
        looks_at_most=looks_at_most,
        rows=rows,
        explained=explained(moved(seen)) if sure else {},
        doubts=doubts,
        notes=[*notes, *left_out, *_powerless(seen, unit, rate / looks_at_most, tested)],
    )


def find(seen: Observations) -> list[Row]:
    """Return what the observations say of each metric, throughput and latency first."""
    told = [name for name in seen.metrics if not seen.lacks(name)]
    logs = {name: seen.logs(name) for name in told} if seen.paired else {}
    full = [name for name, values in logs.items() if len(values) == seen.counts[0] >= FEWEST]
    known: dict[str, Difference] = {}
    if full:
        columns = np.column_stack([logs[name] for name in full])
        known = dict(zip(full, differences(columns), strict=True))
    return [_row(seen, name, known.get(name)) for name in seen.metrics]


def _row(seen: Observations, metric: str, known: Difference | None) -> Row:
    if seen.lacks(metric):
        return Row(metric=metric, a=None, b=None, ratio=None)
    a, b = seen.a[metric], seen.b[metric]
    used = a[a > 0], b[b > 0]
    if seen.paired:
        both = (a > 0) & (b > 0)
        used = a[both], b[both]
    if not all(map(len, used)):  # the stage is of one side only, so there is no ratio
        return Row(metric=metric, a=typical(a) or None, b=typical(b) or None, ratio=None)
    if known is None and min(map(len, used)) >= FEWEST:
        logs = np.log(used[0]), np.log(used[1])
        known = difference(logs[1] - logs[0]) if seen.paired else between(*logs)
    found = typical(used[0]), typical(used[1])
    row = Row(metric=metric, a=found[0], b=found[1], ratio=found[1] / found[0])
    if metric in QUANTILES:
        reach = [_within(*one, metric=metric) for one in zip(used, seen.within, strict=True)]
        row = msgspec.structs.replace(row, a_within=reach[0], b_within=reach[1])
    if known is None:
        return row
    return msgspec.structs.replace(
        row, ratio=known.ratio, low=known.low, high=known.high, chance=known.chance
    )


def _within(used: Floats, single: dict[str, Interval], *, metric: str) -> Interval | None:
    """Where a side's quantile is, over its observations or by the requests of its single run."""
    if len(used) >= FEWEST:
        return mean_within(used)
    return single.get(metric) if len(used) == 1 else (float(used.min()), float(used.max()))


def typical(values: Floats) -> float:
    """Return the geometric mean of the positive values, 0 without one."""
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else 0.0


def _mark(row: Row, *, rate: float, looks: int, others: int, doubtful: bool) -> str:
    if doubtful:
        return DOUBTFUL
    if not is_sure(
        row.chance, rate=rate, looks=looks, questions=1 if row.metric == "mean" else others
    ):
        return SAME
    more = (row.ratio or 1) > 1
    return BETTER if more == (row.metric in MORE_IS_BETTER) else WORSE


def moved(seen: Observations) -> dict[str, float]:
    """Return how much longer each stage takes in B, in ms, longest first."""
    found = {}
    for name in seen.metrics:
        both = [side[name][np.isfinite(side[name])] for side in (seen.a, seen.b)]
        if name.startswith(STAGE) and all(map(len, both)):
            found[name.removeprefix(STAGE)] = float(both[1].mean() - both[0].mean())
    return dict(sorted(found.items(), key=lambda stage: -stage[1]))


def _few(seen: Observations, unit: str) -> list[Remark]:
    fewest = min(seen.counts)
    return [("one" if fewest == 1 else "two", unit)] if fewest < FEWEST else []


def _powerless(seen: Observations, unit: str, rate: float, others: int) -> list[Remark]:
    """What so few observations cannot show, however large it is."""
    a, b = seen.counts
    least = 2 / (2**a if seen.paired else math.comb(a + b, a))
    if min(a, b) < FEWEST or least <= rate / max(others, 1):
        return []
    return [("powerless" if least > rate else "powerless rows", unit)]
