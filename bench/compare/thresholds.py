"""What a gate allows, one readable string each: `p99 < 50ms`, `stage.decode < +10%`.

A signed percentage is a change against the baseline, everything else is absolute.
"""

import re
from dataclasses import dataclass

from bench.compare.comparison import MORE_IS_BETTER
from bench.compare.observations import QUANTILES, STAGE
from pipelines.errors import VisiontaxError
from pipelines.spans import OTHER, STAGES

_TIME = {"us": 1e-3, "ms": 1.0, "s": 1e3}
"""Units of latencies, in milliseconds."""

ERRORS = "error_share"
"""The one metric without a change: a baseline has no errors."""

SHARES = ("non_inference_share", "other_share", "broker_share", ERRORS)

UNITS = {
    "throughput": {"": 1.0, "/s": 1.0},
    **dict.fromkeys(("mean", *QUANTILES), _TIME),
    **{f"{STAGE}{stage}": _TIME for stage in (*STAGES, OTHER)},
    **{share: {"%": 0.01} for share in SHARES},
}
"""Each metric, and what its absolute limits are written in: requests/s, ms, parts of 1."""

_METRIC = re.compile(r"\s*([\w.]*)\s*")
_NUMBER = re.compile(r"\s*([+-]?)\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Threshold:
    """A metric must stay below (`below`) or above the limit.

    `limit` is in requests/s, ms or parts of 1; where `relative`, it is a ratio to the baseline: 1.1
    for +10%.
    """

    text: str
    metric: str
    below: bool
    limit: float
    relative: bool

    def allows(self, value: float) -> bool:
        """Whether the value, for a relative one the ratio to the baseline, is within the limit."""
        return value < self.limit if self.below else value > self.limit


def parse(text: str) -> Threshold:
    """Return the threshold. Raises VisiontaxError naming the column of a mistake."""
    metric, at = _metric(text)
    below = _below(text, metric, at)
    number = _NUMBER.match(text, at + 1)
    if number is None:
        raise _mistake(text, _next(text, at + 1), "here a number is wanted")
    unit, unit_at = text[number.end() :].strip(), number.end()
    sign, value = number[1], float(number[2])
    if sign:
        _check_change(text, metric, unit=unit, at=(number.start(1), unit_at))
        change = float(f"{sign}{value}") / 100
        if change <= -1:
            raise _mistake(text, number.start(1), "nothing can fall by 100% or more")
        return Threshold(text.strip(), metric, below, 1 + change, relative=True)
    if unit not in UNITS[metric]:
        known = " or ".join(one or "no unit" for one in UNITS[metric])
        why = f"{metric} is written with {known}, and a change with a sign, like +10%"
        raise _mistake(text, unit_at, why)
    return Threshold(text.strip(), metric, below, value * UNITS[metric][unit], relative=False)


def _metric(text: str) -> tuple[str, int]:
    """The metric, and where the text goes on after it."""
    found = _METRIC.match(text)
    assert found is not None  # it matches nothing, too
    if found[1] not in UNITS:
        said = f"unknown metric {found[1]!r}" if found[1] else "here a metric is wanted"
        raise _mistake(text, found.start(1), said)
    return found[1], found.end()


def _below(text: str, metric: str, at: int) -> bool:
    """Whether `<` is at that place. A limit on the better side would never fail: it is a typo."""
    written = text[at : at + 1]
    if written not in ("<", ">"):
        raise _mistake(text, at, f"here < or > is wanted{f', not {written!r}' if written else ''}")
    wanted = ">" if metric in MORE_IS_BETTER else "<"
    if written != wanted:
        better = "more" if wanted == ">" else "less"
        raise _mistake(text, at, f"{better} of {metric} is better, so its limit is with {wanted}")
    return written == "<"


def _check_change(text: str, metric: str, *, unit: str, at: tuple[int, int]) -> None:
    sign_at, unit_at = at
    if metric == ERRORS:
        raise _mistake(text, sign_at, f"{metric} has an absolute limit only, such as 1%")
    if unit != "%":
        raise _mistake(text, unit_at, "a change, with its sign, is written in %")


def _next(text: str, at: int) -> int:
    """Where the next character that is no space stands."""
    return len(text) - len(text[at:].lstrip())


def _mistake(text: str, at: int, why: str) -> VisiontaxError:
    known = [name for name in UNITS if not name.startswith(STAGE)]
    stages = [name.removeprefix(STAGE) for name in UNITS if name.startswith(STAGE)]
    return VisiontaxError(
        f"{text!r}, column {at + 1}: {why}",
        hint=f"known metrics: {', '.join(known)}, and {STAGE} with {', '.join(stages)}",
    )
