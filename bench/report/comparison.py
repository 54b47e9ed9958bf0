"""A comparison in sentences, as text, Markdown or JSON. Text fits 100 columns."""

import math
from collections.abc import Callable
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
)
from bench.compare.observations import STAGE
from bench.compare.randomization import LEVEL
from bench.ledger.units import ABSENT, clean, count, number
from bench.report import formats
from bench.report.formats import markdown_table, plain, text_table, wrap

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


def document(comparison: Comparison) -> dict[str, Any]:
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
    """Return a ratio and its interval for columns of their own: `1.00`, `0.99 to 1.01`."""
    if ratio is None or low is None or high is None:
        return number(ratio), ABSENT
    digits = _digits((high - low) / 2)
    return f"{ratio:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def _digits(half: float) -> int:
    """So many decimals that half an interval does not vanish: two to four."""
    return min(max(math.ceil(-math.log10(half)) if half > 0 else 2, 2), 4)


def render(comparison: Comparison, *, format: str) -> str:
    """Return the comparison in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](comparison)


def cells(comparison: Comparison) -> list[list[str]]:
    """Return the rows under HEADS."""
    return [_row(row) for row in comparison.rows]


def _row(row: Row) -> list[str]:
    ratio, interval = apart(row.ratio, row.low, row.high)
    if row.mark == SAME and row.ratio is not None:
        ratio = MARKS[SAME]
    metric = row.metric.removeprefix(STAGE)
    return [metric, number(row.a), number(row.b), ratio, interval, row.mark]


def legend(comparison: Comparison) -> dict[str, str]:
    """Return the marks of this table, and what they mean."""
    used = {row.mark for row in comparison.rows}
    return {mark: meaning for mark, meaning in MARKS.items() if mark in used}


def _facts(comparison: Comparison) -> str:
    a, b = comparison.observations
    many = count(a, comparison.unit) if a == b else f"{a} and {count(b, comparison.unit)}"
    how = "a side, in pairs" if comparison.paired else "a side, not paired"
    if comparison.unit == "block":
        how = "of four slices, ABBA or BAAB"
    return " · ".join([f"{many} {how}", *comparison.shared])


def _sides(comparison: Comparison) -> list[str]:
    return [
        f"{name}  {side.label}{'' if side.valid else '  INVALID: ' + ', '.join(side.issues)}"
        for name, side in (("A", comparison.a), ("B", comparison.b))
    ]


def _text(comparison: Comparison) -> str:
    lines: list[str] = []
    for line in [*_sides(comparison), _facts(comparison)]:
        lines += wrap(line)
    lines += ["", *wrap(sentence(comparison)), ""]
    marks = [f"{mark} {meaning}" for mark, meaning in legend(comparison).items()]
    lines += [*text_table(HEADS, cells(comparison)), "", *wrap(" · ".join([*marks, UNITS]))]
    for doubt in comparison.doubts:
        lines += wrap(f"! {told(doubt)}")
    for note in comparison.notes:
        lines += wrap(told(note))
    return "\n".join(lines)


def _markdown(comparison: Comparison) -> str:
    rows = [[*map(plain, row[:-1]), f"`{row[-1]}`"] for row in cells(comparison)]
    marks = [f"`{mark}` {meaning}" for mark, meaning in legend(comparison).items()]
    blocks = [
        f"### {plain(sentence(comparison))}",
        "\n".join(f"- {plain(line)}" for line in _sides(comparison)),
        markdown_table(HEADS, rows, texts=1),
        " · ".join([*marks, UNITS]),
    ]
    said = [
        *(f"**!** {plain(told(doubt))}" for doubt in comparison.doubts),
        *(plain(told(note)) for note in comparison.notes),
    ]
    blocks += ["\n".join(f"- {line}" for line in said)] if said else []
    blocks.append(f"<sub>{plain(_facts(comparison))}</sub>")
    return "\n\n".join(blocks)


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "md": _markdown,
    "json": lambda comparison: formats.json(document(comparison)),
}
