"""A comparison as text, Markdown or JSON: rendering only. Text fits 100 columns."""

from __future__ import annotations

from collections.abc import Callable

from bench.compare.comparison import MARKS, SAME, Comparison, Row, apart
from bench.compare.observations import STAGE
from bench.compare.randomization import LEVEL
from bench.ledger.units import ABSENT, count, number
from bench.report import formats
from bench.report.formats import markdown_table, plain, text_table, wrap

HEADS = ("metric", "A", "B", "B/A", f"{100 * LEVEL:.0f} % interval", "mark")
UNITS = "throughput in requests/s, the others in ms"


def render(comparison: Comparison, *, format: str) -> str:
    """Return the comparison in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](comparison)


def cells(comparison: Comparison) -> list[list[str]]:
    """Return the rows under HEADS."""
    return [_row(row) for row in comparison.rows]


def _row(row: Row) -> list[str]:
    ratio = ABSENT if row.ratio is None else number(row.ratio)
    interval = ABSENT
    if row.ratio is not None and row.low is not None and row.high is not None:
        ratio, interval = apart(row.ratio, row.low, row.high)
    if row.mark == SAME and row.ratio is not None:
        ratio = MARKS[SAME]
    return [
        row.metric.removeprefix(STAGE),
        number(row.a),
        number(row.b),
        ratio,
        interval,
        row.mark,
    ]


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
    lines += ["", *wrap(comparison.sentence), ""]
    marks = [f"{mark} {meaning}" for mark, meaning in legend(comparison).items()]
    lines += [*text_table(HEADS, cells(comparison)), "", *wrap(" · ".join([*marks, UNITS]))]
    for doubt in comparison.doubts:
        lines += wrap(f"! {doubt}")
    for note in comparison.notes:
        lines += wrap(note)
    return "\n".join(lines)


def _markdown(comparison: Comparison) -> str:
    rows = [[*map(plain, row[:-1]), f"`{row[-1]}`"] for row in cells(comparison)]
    marks = [f"`{mark}` {meaning}" for mark, meaning in legend(comparison).items()]
    blocks = [
        f"### {plain(comparison.sentence)}",
        "\n".join(f"- {plain(line)}" for line in _sides(comparison)),
        markdown_table(HEADS, rows, texts=1),
        " · ".join([*marks, UNITS]),
    ]
    said = [
        *(f"**!** {plain(doubt)}" for doubt in comparison.doubts),
        *map(plain, comparison.notes),
    ]
    blocks += ["\n".join(f"- {line}" for line in said)] if said else []
    blocks.append(f"<sub>{plain(_facts(comparison))}</sub>")
    return "\n\n".join(blocks)


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "md": _markdown,
    "json": formats.json,
}
