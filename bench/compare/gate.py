"""What a gate decides of each threshold: kept, a regression, or too noisy to tell.

A change is a regression when it is beyond the limit, and coin tosses alone would hardly give it:
all thresholds and looks together raise a false alarm in at most RATE of the jobs without a change.
An absolute limit is compared with what was measured, as it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.compare.comparison import Comparison, Remark, moved, typical
from bench.compare.measured import absent, in_blocks, of_summary
from bench.compare.observations import QUANTILES, STAGE, Observations, log_ratios
from bench.compare.randomization import (
    FEWEST,
    Difference,
    chance_beyond,
    chances_above,
    difference,
)
from bench.compare.stored import Experimented, Run, comparison_of
from bench.compare.thresholds import Threshold
from bench.ledger.quantiles import Quantile, needed
from bench.ledger.summary import Summary

SCHEMA = 1
RATE = 0.005
PASS, REGRESSION, NOISY, INVALID = "pass", "regression", "too noisy", "invalid"
EXIT = {PASS: 0, REGRESSION: 3, NOISY: 4, INVALID: 4}
"""The outcomes, and what `bench gate` exits with."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one threshold.

    `a` and `b` are in requests/s, ms or parts of 1, `a` None of an absolute limit. Of a change,
    `ratio` is B over A, `low` to `high` its 95 % interval, and `chance` how often coin tosses
    alone give a change as bad; of an absolute limit of a quantile the interval is that of `b`, None
    where there are too few requests. Else they are None. `why` is why it is no pass, empty of one.
    """

    threshold: str
    metric: str
    outcome: str
    a: float | None
    b: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    why: Remark = ()


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate has decided, and from what.

    `outcome` is the worst of the decisions, or invalid for the reasons in `doubts`. `noise` is how
    much A differs from itself from slice to slice, a part of 1. `moved_ms` is how much longer
    each stage takes in B, longest first, and `explained` its part of the difference, where that is
    significant; `blamed` is, of a change that is a regression, the stage that surely takes longer
    by most, or just by most where none surely does. An experiment has a `comparison`, a gate of
    absolute limits alone a `run`.
    """

    schema: int = SCHEMA
    outcome: str
    exit_code: int
    decisions: list[Decision]
    doubts: list[Remark]
    rate: float
    noise: float | None = None
    moved_ms: dict[str, float] = {}
    explained: dict[str, float] = {}
    blamed: str | None = None
    comparison: Comparison | None = None
    run: Summary | None = None


def of_run(folder: Path, thresholds: Sequence[Threshold]) -> Gate:
    """Return what a stored run says of absolute thresholds.

    Raises VisiontaxError when none of its requests succeeded, or it lacks a metric.
    """
    summary = Run.read(folder).summary
    measured = of_summary(summary)
    decisions = [_absolute(one, measured) for one in thresholds]
    codes = ", ".join(dict.fromkeys(issue.code for issue in summary.issues if issue.invalid))
    doubts: list[Remark] = [] if summary.valid else [("invalid", "the run", codes)]
    return _gate(decisions, doubts=doubts, run=summary)


def of_turns(stored: Experimented, thresholds: Sequence[Threshold]) -> Gate:
    """Return what an experiment says of thresholds, B measured against A.

    Raises VisiontaxError when B finished no request in its window, or a side lacks a metric.
    """
    experiment, seen, comparison = stored.experiment, stored.seen, comparison_of(stored)
    measured = of_summary(stored.b.summary)
    # A report counts the other side's turns as time, so its throughput is not the side's own.
    measured["throughput"] = float(seen.b["throughput"].mean())
    questions = sum(one.relative for one in thresholds)
    allowed = RATE / max(experiment.looks_at_most * questions, 1)
    decisions = [
        relative(one, seen, allowed=allowed) if one.relative else _absolute(one, measured)
        for one in thresholds
    ]
    doubts = list(comparison.doubts)
    if experiment.stopped in ("interrupted", None):
        doubts.append(("unfinished",))
    if lost := len(seen.left_out):
        doubts.append(("silent", str(lost), lost + seen.counts[0]))
    longer = moved(seen)
    surely = surely_longer(seen)
    suspects = [stage for stage in longer if stage in surely] or list(longer)
    worse = any(one.outcome == REGRESSION and one.ratio is not None for one in decisions)
    return _gate(
        decisions,
        doubts=doubts,
        noise=seen.noise,
        moved_ms=longer,
        explained=comparison.explained,
        blamed=suspects[0] if worse and suspects and not doubts else None,
        comparison=comparison,
    )


def is_decided(seen: Observations, looks: int, *, thresholds: Sequence[Threshold]) -> bool:
    """Whether a change is a regression already, or all are surely within their limits.

    Raises VisiontaxError as `relative` does.
    """
    changes = [one for one in thresholds if one.relative]
    allowed = RATE / (looks * len(changes))
    found = [relative(one, seen, allowed=allowed) for one in changes]
    if any(one.outcome == REGRESSION for one in found):
        return True
    return all(_surely_kept(one, seen, allowed=allowed) for one in changes)


def _surely_kept(threshold: Threshold, seen: Observations, *, allowed: float) -> bool:
    blocks = log_ratios(*(in_blocks(side, threshold.metric) for side in (seen.a, seen.b)))
    if len(blocks) < FEWEST or seen.lacks(threshold.metric):
        return False
    return chance_beyond(blocks, factor=threshold.limit, above=not threshold.below) <= allowed


def surely_longer(seen: Observations) -> list[str]:
    """Return the stages that take longer in B, and not by accident: a machine's whims hit all."""
    names = [name for name in seen.metrics if name.startswith(STAGE)]
    a, b = (np.column_stack([side[name] for name in names]) for side in (seen.a, seen.b))
    known = (a > 0) & (b > 0)
    enough = known.sum(axis=0) >= FEWEST
    if not enough.any():
        return []
    logs = np.zeros_like(a)  # a block that is not known says nothing for one side or the other
    logs[known] = np.log(b[known] / a[known])
    sure = enough & (chances_above(logs) <= RATE / len(names))
    return [name.removeprefix(STAGE) for name, one in zip(names, sure, strict=True) if one]


def relative(threshold: Threshold, seen: Observations, *, allowed: float) -> Decision:
    """Decide of a change; `allowed` is the chance below which it is no accident.

    Raises VisiontaxError when a side has nothing of the metric.
    """
    a, b = (in_blocks(side, threshold.metric) for side in (seen.a, seen.b))
    for name, side in (("A", a), ("B", b)):
        if not (side > 0).any():
            raise absent(threshold.metric, f"on side {name}", seen.metrics)
    if seen.lacks(threshold.metric):
        return _untold(threshold, needed(QUANTILES[threshold.metric] / 100))
    known, blocks = (a > 0) & (b > 0), log_ratios(a, b)
    decision = Decision(
        threshold=threshold.text,
        metric=threshold.metric,
        outcome=NOISY,
        a=typical(a),
        b=typical(b),
        why=("few", len(blocks)),
    )
    if len(blocks) < FEWEST:
        return decision
    found = difference(blocks)
    # Who demands an improvement asks whether it was missed; else "no change" is what was hoped for.
    hoped = min(threshold.limit, 1.0) if threshold.below else max(threshold.limit, 1.0)
    chance = chance_beyond(blocks, factor=hoped, above=threshold.below)
    outcome, *why = _outcome(threshold, found, sure=chance <= allowed)
    return msgspec.structs.replace(
        decision,
        outcome=outcome,
        a=typical(a[known]),
        b=typical(b[known]),
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        chance=chance,
        why=tuple(why),
    )


def _outcome(threshold: Threshold, found: Difference, *, sure: bool) -> tuple[str, ...]:
    """What is decided of a change, and why it is no pass. `sure` means that it is no accident."""
    if not threshold.allows(found.ratio):
        return (REGRESSION, "beyond") if sure else (NOISY, "chance")
    worst = found.high if threshold.below else found.low
    if not threshold.allows(worst) and found.low <= 1 <= found.high:
        return NOISY, "wide"
    return (PASS,)


def _untold(threshold: Threshold, needs: int) -> Decision:
    """What is decided of a quantile of too few requests."""
    return Decision(
        threshold=threshold.text,
        metric=threshold.metric,
        outcome=NOISY,
        a=None,
        b=None,
        why=("requests", needs),
    )


def _absolute(threshold: Threshold, measured: dict[str, float | Quantile]) -> Decision:
    if threshold.metric not in measured:
        raise absent(threshold.metric, "in this run", list(measured))
    value, low, high = measured[threshold.metric], None, None
    if isinstance(value, Quantile):
        value, low, high, needs = msgspec.structs.astuple(value)
        if value is None:
            return _untold(threshold, needs)
    kept = threshold.allows(value)
    return Decision(
        threshold=threshold.text,
        metric=threshold.metric,
        outcome=PASS if kept else REGRESSION,
        a=None,
        b=value,
        low=low,
        high=high,
        why=() if kept else ("absolute",),
    )


def _gate(decisions: list[Decision], *, doubts: list[Remark], **found: Any) -> Gate:
    """The worst of the decisions, none of which holds where there are doubts."""
    if doubts:
        decisions = [msgspec.structs.replace(one, outcome=INVALID) for one in decisions]
    seen = {one.outcome for one in decisions}
    outcome = next(one for one in (INVALID, REGRESSION, NOISY, PASS) if one in seen)
    return Gate(
        outcome=outcome,
        exit_code=EXIT[outcome],
        decisions=decisions,
        doubts=doubts,
        rate=RATE,
        **found,
    )
