"""From observations of A and B to what is said of them: a row a metric, and one sentence.

Two questions each have the allowed rate of false alarms for themselves: whether the mean latency
differs, and whether any other row does. Each look has an equal part, and so has each other row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from bench.compare import randomization
from bench.compare.observations import STAGE, Observations
from bench.compare.randomization import FEWEST, Difference, between, differences, is_sure
from bench.ledger.units import count, number

SCHEMA = 1
RATE = 0.05
BETTER, WORSE, SAME, DOUBTFUL = "+", "-", "~", "!"
MARKS = {
    BETTER: "B is better",
    WORSE: "B is worse",
    SAME: "not significant",
    DOUBTFUL: "not to be trusted",
}
MORE_IS_BETTER = ("throughput",)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side: what it is, its runs, and the codes of the issues that make one INVALID."""

    label: str
    runs: list[str]
    valid: bool
    issues: list[str]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: `throughput` in requests/s, the others in ms.

    `a` and `b` are geometric means over the observations that `ratio`, B over A, comes from. They
    are 0 of a stage that took no time, and then there is no ratio. `low` to `high` covers the true
    ratio in 95 % of all comparisons, `chance` is how often coin tosses alone give one as far from
    1; None of fewer than three observations.
    """

    metric: str
    a: float
    b: float
    ratio: float | None
    low: float | None
    high: float | None
    chance: float | None
    mark: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """B against A.

    `observations` are those of A and of B: blocks of an experiment, or runs. `explained` is each
    stage's part of the difference of the mean latencies, empty unless that is significant.
    `doubts` are why nothing here is to be trusted, `notes` what else there is to know.
    """

    schema: int
    a: Side
    b: Side
    unit: str
    observations: tuple[int, int]
    paired: bool
    shared: list[str]
    rate: float
    looks_at_most: int
    sentence: str
    rows: list[Row]
    explained: dict[str, float]
    doubts: list[str]
    notes: list[str]

    @property
    def valid(self) -> bool:
        """Whether the runs of both sides are."""
        return self.a.valid and self.b.valid


@dataclass(frozen=True)
class Found:
    """One metric before it is marked. `difference` is None of fewer than three observations."""

    metric: str
    a: float
    b: float
    ratio: float | None
    difference: Difference | None


def compare(
    seen: Observations,
    *,
    a: Side,
    b: Side,
    unit: str,
    shared: Sequence[str] = (),
    doubts: Sequence[str] = (),
    notes: Sequence[str] = (),
    looks_at_most: int = 1,
    rate: float = RATE,
) -> Comparison:
    """Return the comparison of the observations, each of which is a `unit`: block or run."""
    found = find(seen)
    doubts = [*_invalid(a, b), *doubts, *_few(seen, unit)]
    tested = sum(one.difference is not None and one.metric != "mean" for one in found)
    sure = {
        one.metric: one.difference is not None
        and is_sure(
            one.difference,
            rate=rate,
            looks=looks_at_most,
            questions=1 if one.metric == "mean" else tested,
        )
        for one in found
    }
    explained = _explained(seen) if sure["mean"] else {}
    left = count(len(seen.left_out), "block")
    said = [f"{left} left out: a side finished no request in it"] if seen.left_out else []
    return Comparison(
        schema=SCHEMA,
        a=a,
        b=b,
        unit=unit,
        observations=seen.counts,
        paired=seen.paired,
        shared=list(shared),
        rate=rate,
        looks_at_most=looks_at_most,
        sentence=_sentence(found, sure, explained=explained, doubts=doubts),
        rows=[_row(one, sure=sure[one.metric], doubtful=bool(doubts)) for one in found],
        explained=explained,
        doubts=doubts,
        notes=[*notes, *said, *_powerless(seen, unit, rate / looks_at_most, tested)],
    )


def find(seen: Observations) -> list[Found]:
    """Return what the observations say of each metric, throughput and latency first."""
    logs = {name: seen.logs(name) for name in seen.metrics} if seen.paired else {}
    full = [name for name, values in logs.items() if len(values) == seen.counts[0] >= FEWEST]
    known: dict[str, Difference] = {}
    if full:
        columns = np.column_stack([logs[name] for name in full])
        known = dict(zip(full, differences(columns), strict=True))
    return [_found(seen, name, known.get(name)) for name in seen.metrics]


def _found(seen: Observations, metric: str, known: Difference | None) -> Found:
    a, b = seen.a[metric], seen.b[metric]
    usable = ((a > 0) & (b > 0), (a > 0) & (b > 0)) if seen.paired else (a > 0, b > 0)
    a, b = a[usable[0]], b[usable[1]]
    if not len(a) or not len(b):
        # The stage is of one side only, so there is no ratio.
        return Found(metric, typical(seen.a[metric]), typical(seen.b[metric]), None, None)
    if known is None and min(len(a), len(b)) >= FEWEST:
        logs = np.log(a), np.log(b)
        known = randomization.difference(logs[1] - logs[0]) if seen.paired else between(*logs)
    found = typical(a), typical(b)
    return Found(metric, *found, known.ratio if known else found[1] / found[0], known)


def typical(values: randomization.Floats) -> float:
    """Return the geometric mean of the positive values, 0 without one."""
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else 0.0


def _row(found: Found, *, sure: bool, doubtful: bool) -> Row:
    told = found.difference
    better = (found.ratio or 1) > 1
    if found.metric not in MORE_IS_BETTER:
        better = not better
    mark = DOUBTFUL if doubtful else SAME if not sure else BETTER if better else WORSE
    return Row(
        metric=found.metric,
        a=found.a,
        b=found.b,
        ratio=found.ratio,
        low=told.low if told else None,
        high=told.high if told else None,
        chance=told.chance if told else None,
        mark=mark,
    )


def _explained(seen: Observations) -> dict[str, float]:
    stages = [name for name in seen.metrics if name.startswith(STAGE)]
    return randomization.explained(
        {name.removeprefix(STAGE): (_mean(seen.a[name]), _mean(seen.b[name])) for name in stages}
    )


def _mean(values: randomization.Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _invalid(a: Side, b: Side) -> list[str]:
    return [
        f"{name} is INVALID ({', '.join(side.issues)})"
        for name, side in (("A", a), ("B", b))
        if not side.valid
    ]


def _few(seen: Observations, unit: str) -> list[str]:
    fewest = min(seen.counts)
    if fewest >= FEWEST:
        return []
    amount = "one" if fewest == 1 else "two"
    says = "says nothing" if fewest == 1 else "say too little"
    return [f"{amount} {unit}{'' if fewest == 1 else 's'} a side {says} about noise"]


def _powerless(seen: Observations, unit: str, rate: float, others: int) -> list[str]:
    """What so few observations cannot show, however large it is."""
    a, b = seen.counts
    least = 2 / (2**a if seen.paired else math.comb(a + b, a))
    if min(a, b) < FEWEST or least <= rate / max(others, 1):
        return []
    what = "a difference" if least > rate else "a difference of any row but the mean"
    return [f"so few {unit}s cannot show {what}: chance alone would be too likely to give it"]


def _sentence(
    found: Sequence[Found],
    sure: dict[str, bool],
    *,
    explained: dict[str, float],
    doubts: Sequence[str],
) -> str:
    mean = next(one for one in found if one.metric == "mean")
    told, ratio = mean.difference, mean.ratio or 1.0
    if told is None:
        return f"B/A of the mean is {number(ratio)}; not to be trusted: {'; '.join(doubts)}"
    about = f"B/A of the mean is {within(ratio, told.low, told.high)}"
    if doubts:
        return f"{about}; not to be trusted: {'; '.join(doubts)}"
    if not sure["mean"]:
        others = [one.metric.removeprefix(STAGE) for one in found if sure[one.metric]]
        but = f"; marked below: {', '.join(others)}" if others else ""
        return f"no difference found between A and B: {about}{but}"
    low, high = (told.low, told.high) if ratio > 1 else (1 / told.high, 1 / told.low)
    times, half = max(ratio, 1 / ratio), (high - low) / 2
    digits = _digits(half)
    way = "slower" if ratio > 1 else "faster"
    return f"B is {times:.{digits}f} ± {half:.{digits}f} times {way}{_blame(explained)}"


def _blame(explained: dict[str, float]) -> str:
    if not explained:
        return ""
    stage, part = next(iter(explained.items()))
    told = f"{100 * part:.0f} %" if part < 0.995 else "all" if part < 1.05 else "more than all"
    return f"; {stage} explains {told} of it"


def within(ratio: float, low: float, high: float) -> str:
    """Return a ratio and its interval: `1.00 (0.99 to 1.01)`."""
    return "{} ({})".format(*apart(ratio, low, high))


def apart(ratio: float, low: float, high: float) -> tuple[str, str]:
    """Return a ratio and its interval for columns of their own: `1.00`, `0.99 to 1.01`."""
    digits = _digits((high - low) / 2)
    return f"{ratio:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def _digits(half: float) -> int:
    """So many decimals that half an interval does not vanish: two to four."""
    return min(max(math.ceil(-math.log10(half)) if half > 0 else 2, 2), 4)
