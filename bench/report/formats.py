"""Text and tables as a terminal and Markdown show them, 100 columns wide, with nothing to obey."""

import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import tabulate

from bench.ledger import units
from bench.record.files import as_json

WIDTH = 100
Rows = Sequence[Sequence[str]]

# How much wider than itself the library makes the head of a column; it has no argument for that.
tabulate.MIN_PADDING = 0


def json(thing: Any) -> str:
    """Return it as indented JSON, as every command prints it."""
    return as_json(thing).decode()


def wrap(line: str, *, hang: str = "  ") -> list[str]:
    """Return the line in lines that fit, the later ones indented by `hang` more than the first."""
    indent = " " * (len(line) - len(line.lstrip()))
    kept = line.replace(" %", "\xa0%")
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent + hang, break_on_hyphens=False)
    return [line.replace("\xa0%", " %") for line in lines]


def text_table(heads: Sequence[str], rows: Rows, *, texts: int = 1) -> list[str]:
    """Return aligned lines, whose first `texts` columns are words and the others numbers.

    A table that is wider than WIDTH gets narrower gaps; then its widest words, and heads above
    numbers, are cut until it fits.
    """
    cells = [list(map(units.clean, row)) for row in (heads, *rows)]
    columns = [list(map(len, column)) for column in zip(*cells, strict=True)]
    widths = list(map(max, columns))
    least = [2 if at < texts else max([2, *column[1:]]) for at, column in enumerate(columns)]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    spare = WIDTH - len(gap) * (len(widths) - 1)
    while sum(widths) > spare and any(map(int.__gt__, widths, least)):
        widest = max(width for width, few in zip(widths, least, strict=True) if width > few)
        widths[widths.index(widest)] -= 1
    heads, *rows = [list(map(_cut, row, widths)) for row in cells]
    rule, row = tabulate.Line("", "-", gap, ""), tabulate.DataRow("", gap, "")
    return _tabulated(
        heads,
        rows,
        look=tabulate.TableFormat(None, rule, None, None, row, row, 0, None),
        colalign=["left"] * texts + ["right"] * (len(heads) - texts),
    )


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def markdown_table(heads: Sequence[str], rows: Rows, *, texts: int) -> str:
    """Return a table whose first `texts` columns are words, the others numbers.

    Its cells are Markdown: what is only text goes through `plain` first.
    """
    rule = " | ".join([":--"] * texts + ["--:"] * (len(heads) - texts))
    row = tabulate.DataRow("| ", " | ", " |")
    look = tabulate.TableFormat(None, lambda *_: f"| {rule} |", None, None, row, row, 0, None)
    return "\n".join(_tabulated(heads, rows, look=look, stralign=None))


def _tabulated(
    heads: Sequence[str], rows: Rows, *, look: tabulate.TableFormat, **align: Any
) -> list[str]:
    """Return the lines of a table whose cells are text, and stay as they are."""
    table = tabulate.tabulate(
        rows, heads, tablefmt=look, disable_numparse=True, preserve_whitespace=True, **align
    )
    return [line.rstrip() for line in table.splitlines()]


def plain(text: str) -> str:
    """Return text that GitHub shows as it is: no markup, no tag, no mention."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", quoted(text))


def quoted(text: str) -> str:
    """Text inside a tag, where Markdown is HTML; GitHub would still link names and addresses."""
    safe = escape(units.clean(text), quote=False)
    return safe.replace("@", "@&#8203;").replace("://", "&#58;//")


def code(text: str) -> str:
    """Return text that Markdown shows as code."""
    return f"<code>{plain(text)}</code>"
