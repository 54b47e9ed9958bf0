"""A sweep as text, JSON or Markdown: rendering only. Text fits 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from bench.ledger.fanout import Sweep, Table, facts, tables
from bench.ledger.several import INVALID, invalid
from bench.ledger.units import clean
from bench.record.files import as_json
from bench.report.formats import plain

WIDTH = 100
FAN_OUT = "fan-out"
LONGEST = len("redis-streams")
"""So many characters of a topology's name are shown."""


def _text(sweep: Sweep) -> str:
    blocks = [f"{clean(sweep.chain)} by fan-out, the number of crops an image has"]
    for table in tables(sweep):
        blocks += filter(None, [_text_table(table), table.measure.note])
    foot = [" · ".join(map(clean, facts(sweep))), invalid(sweep.runs)]
    blocks.append("\n".join(textwrap.fill(line, WIDTH) for line in foot if line))
    return "\n\n".join(blocks)


def _text_table(table: Table) -> str:
    heads, *rows = _cells(table)
    if any(cell.endswith(INVALID) for row in rows for cell in row):
        # Marks get a column of their own, so that the digits stay below each other.
        rows = [[cell if cell.endswith(INVALID) else f"{cell} " for cell in row] for row in rows]
    heads = [head if len(head) <= LONGEST else f"{head[: LONGEST - 1]}…" for head in heads]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        [f"{table.measure.title}, {table.measure.unit}"]
        + ["  ".join(map(str.rjust, line, widths)).rstrip() for line in lines]
    )


def _cells(table: Table) -> list[list[str]]:
    """The heads and the rows."""
    return [
        [FAN_OUT, *map(clean, table.topologies)],
        *([str(fanout), *map(table.cell, points)] for fanout, points in table.rows),
    ]


def _markdown(sweep: Sweep) -> str:
    blocks = [f"### {plain(sweep.chain)} by fan-out"]
    for table in tables(sweep):
        blocks += [f"{table.measure.title}, {table.measure.unit}:", _markdown_table(_cells(table))]
        blocks += filter(None, [plain(table.measure.note)])
    blocks.append(" · ".join(map(plain, facts(sweep))))
    blocks += [f"**{plain(said)}**"] if (said := invalid(sweep.runs)) else []
    return "\n\n".join(blocks)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    heads, *rest = [list(map(plain, row)) for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["--:"] * len(heads), *rest])


def _json(sweep: Sweep) -> str:
    return as_json(sweep).decode()


FORMATS: dict[str, Callable[[Sweep], str]] = {"text": _text, "json": _json, "md": _markdown}


def render(sweep: Sweep, *, format: str) -> str:
    """Return the sweep in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](sweep)
