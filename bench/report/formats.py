"""Text and tables as a terminal and Markdown show them, 100 columns wide, with nothing to obey."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape

from bench.ledger import units

WIDTH = 100


def wrap(line: str) -> list[str]:
    """Return the line in lines that fit, the later ones indented."""
    indent = " " * (len(line) - len(line.lstrip()))
    kept = line.replace(" %", "\xa0%")
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent + "  ", break_on_hyphens=False)
    return [line.replace("\xa0%", " %") for line in lines]


def text_table(heads: Sequence[str], rows: list[list[str]], *, texts: int = 1) -> list[str]:
    """Return aligned lines; the first `texts` columns are text, and are cut until they fit."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    spare = WIDTH - sum(widths[texts:]) - len(gap) * (len(widths) - 1)
    while sum(widths[:texts]) > spare and max(widths[:texts]) > 2:
        widths[widths.index(max(widths[:texts]))] -= 1
    lines = []
    for row in [heads, ["-" * width for width in widths], *rows]:
        cells = [
            _cut(cell, width).ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(gap.join(cells).rstrip())
    return lines


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def markdown_table(heads: Sequence[str], rows: list[list[str]], *, texts: int) -> str:
    """Return a table whose first `texts` columns are words, the others numbers."""
    rule = [":--" if i < texts else "--:" for i in range(len(heads))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def plain(text: str) -> str:
    """Return text that GitHub shows as it is: no markup, no tag, no mention."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", _quoted(text))


def _quoted(text: str) -> str:
    """Text inside a tag, where Markdown is HTML; GitHub would still link names and addresses."""
    safe = escape(units.clean(text), quote=False)
    return safe.replace("@", "@&#8203;").replace("://", "&#58;//")


def _code(text: str) -> str:
    return f"<code>{plain(text)}</code>"
