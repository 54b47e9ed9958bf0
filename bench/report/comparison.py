"""The report of a comparison: what is different, by how much, and what speaks against it."""

import math
from typing import Any

import msgspec

from bench.compare.comparison import (
    BETTER,
    DOUBTFUL,
    SAME,
    WORSE,
    Comparison,
    Remark,
    Row,
    Side,
)
from bench.compare.observations import QUANTILES, STAGE, Interval
from bench.compare.randomization import LEVEL
from bench.ledger.quantiles import Quantile, needed
from bench.ledger.units import ABSENT, clean, count, number, quantile
from bench.report.document import written
from bench.report.document.blocks import Block, Document, Facts, Item, Items, Pairs, Say, Table
from bench.report.words import INTERVALS

HEADS = ("metric", "A", "B", "B/A", f"{100 * LEVEL:.0f} % interval", "mark")
UNITS = "throughput in requests/s, the others in ms"
MARKS = {
    BETTER: "B is better",
    WORSE: "B is worse",
    SAME: "not significant",
    DOUBTFUL: "not to be trusted",
}
REMARKS = {
    "invalid": "{} is INVALID ({})",
    "one": "one {} a side says nothing about noise",
    "two": "two {}s a side say too little about noise",
    "machine": "other machine: A on {}; B on {}",
    "schema": "other schema of the results: {}",
    "settings": "other settings: {} differ in {}",
    "unfinished": "the experiment did not come to its end",
    "silent": "a side finished no request in {} of {}",
    "left out": "{} left out: a side finished no request in it",
    "interrupted": "it was interrupted",
    "going on": "it still goes on",
    "in a row": "all of {} was measured before {}: drift would look the same",
    "powerless": "so few {}s cannot show a difference: chance alone would be too likely to give it",
    "powerless rows": "so few {}s cannot show a difference of any row but the mean: chance alone "
    "would be too likely to give it",
}
"""What each remark of the analysis says; its whole numbers are of blocks."""


def told(remark: Remark) -> str:
    """Return a remark in words."""
    name, *about = remark
    filled = [count(one, "block") if isinstance(one, int) else one for one in about]
    return clean(REMARKS[str(name)].format(*filled))


def data(comparison: Comparison) -> dict[str, Any]:
    """Return what the JSON of a comparison holds."""
    said = {
        "sentence": sentence(comparison),
        "doubts": [*map(told, comparison.doubts)],
        "notes": [*map(told, comparison.notes)],
    }
    return msgspec.structs.asdict(comparison) | said


def sentence(comparison: Comparison) -> str:
    """Return the answer: whether B is different from A in its mean latency."""
    (mean,) = (row for row in comparison.rows if row.metric == "mean")
    ratio, untrusted = mean.ratio or 1.0, "; ".join(map(told, comparison.doubts))
    if mean.low is None or mean.high is None:
        return f"B/A of the mean is {number(ratio)}; not to be trusted: {untrusted}"
    about = f"B/A of the mean is {within(ratio, mean.low, mean.high)}"
    if untrusted:
        return f"{about}; not to be trusted: {untrusted}"
    if mean.mark == SAME:
        others = [row.metric.removeprefix(STAGE) for row in comparison.rows if row.mark != SAME]
        but = f"; marked below: {', '.join(others)}" if others else ""
        if any(remark[0] == "powerless" for remark in comparison.notes):
            return f"too few {comparison.unit}s to find a difference: {about}{but}"
        return f"no difference found between A and B: {about}{but}"
    low, high = (mean.low, mean.high) if ratio > 1 else (1 / mean.high, 1 / mean.low)
    times, half = max(ratio, 1 / ratio), (high - low) / 2
    digits, way = _digits(half), "slower" if ratio > 1 else "faster"
    stage, part = next(iter(comparison.explained.items()), ("", 0.0))
    much = f"{100 * part:.0f} %" if part < 0.995 else "all" if part < 1.05 else "more than all"
    blame = f"; {stage} explains {much} of it" if stage else ""
    return f"B is {times:.{digits}f} ± {half:.{digits}f} times {way}{blame}"


def within(ratio: float, low: float, high: float) -> str:
    """Return a ratio and its interval: `1.00 (0.99 to 1.01)`."""
    return "{} ({})".format(*apart(ratio, low, high))


def apart(ratio: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """Return a ratio and its interval for columns of their own: `1.00`, `0.99 to 1.01`; without a
    ratio the interval is of a measured value.
    """
    if low is None or high is None:
        return number(ratio), ABSENT
    if ratio is None:
        return ABSENT, f"{number(low)} to {number(high)}"
    digits = _digits((high - low) / 2)
    return f"{ratio:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def _digits(half: float) -> int:
    """So many decimals that half an interval does not vanish: two to four."""
    return min(max(math.ceil(-math.log10(half)) if half > 0 else 2, 2), 4)


def render(comparison: Comparison, *, format: str) -> str:
    """Return the comparison in one of the FORMATS, without a newline at its end."""
    made = document(comparison)
    return written.written(made, format=format, data=lambda: data(comparison))


def cells(comparison: Comparison) -> list[list[str]]:
    """Return the rows under HEADS."""
    return [_row(row) for row in comparison.rows]


def _row(row: Row) -> list[str]:
    ratio, interval = apart(row.ratio, row.low, row.high)
    if row.mark == SAME and row.ratio is not None:
        ratio = MARKS[SAME]
    sides = [_side(row, row.a, row.a_within), _side(row, row.b, row.b_within)]
    return [row.metric.removeprefix(STAGE), *sides, ratio, interval, row.mark]


def _side(row: Row, value: float | None, within: Interval | None) -> str:
    if row.metric not in QUANTILES:
        return number(value)
    if value is not None and within is None:  # a single block has no interval
        return f"{number(value)} ({ABSENT})"
    low, high = within or (None, None)
    return quantile(Quantile(value, low, high, needed(QUANTILES[row.metric] / 100)))


def _brackets(comparison: Comparison) -> str:
    """What the brackets in the columns A and B are."""
    two = f", of two {comparison.unit}s from one to the other"
    return INTERVALS + (two if 2 in comparison.observations else "")


def legend(comparison: Comparison) -> dict[str, str]:
    """Return the marks of this table, and what they mean."""
    used = {row.mark for row in comparison.rows}
    return {mark: meaning for mark, meaning in MARKS.items() if mark in used}


def _facts(comparison: Comparison) -> list[str]:
    a, b = comparison.observations
    many = count(a, comparison.unit) if a == b else f"{a} and {count(b, comparison.unit)}"
    how = "a side, in pairs" if comparison.paired else "a side, not paired"
    if comparison.unit == "block":
        how = "of four slices, ABBA or BAAB"
    return [f"{many} {how}", *comparison.shared]


def document(comparison: Comparison) -> Document:
    """Return its report."""
    return Document(title="", headline=sentence(comparison), blocks=blocks(comparison))


def blocks(comparison: Comparison) -> list[Block]:
    """Return what is told of it below its sentence."""
    marks = [f"{mark} {meaning}" for mark, meaning in legend(comparison).items()]
    doubts = [Item(text=told(one), mark="warning") for one in comparison.doubts]
    return [
        Pairs([*map(_side_of, "AB", (comparison.a, comparison.b))]),
        Facts(_facts(comparison)),
        Items([*doubts, *(Item(text=told(note)) for note in comparison.notes)]),
        Table(name="comparison", heads=HEADS, rows=cells(comparison)),
        Say(" · ".join([*marks, UNITS]), "note"),
        Say(_brackets(comparison), "note"),
    ]


def _side_of(name: str, side: Side) -> tuple[str, str]:
    return name, f"{side.label}{'' if side.valid else '  INVALID: ' + ', '.join(side.issues)}"
