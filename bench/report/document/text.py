"""A document as a terminal shows it: 100 columns wide, with nothing to obey."""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import tabulate

from bench.ledger import units
from bench.report.document.blocks import (
    DOUBT,
    Block,
    Chart,
    Document,
    Facts,
    Item,
    Items,
    Pairs,
    Say,
    Section,
    Table,
)

WIDTH = 100
Rows = Sequence[Sequence[str]]

# How much wider than itself the library makes the head of a column; it has no argument for that.
tabulate.MIN_PADDING = 0


def write(document: Document) -> str:
    """Return it without a newline at its end."""
    title = ": ".join(filter(None, [document.title, document.headline]))
    return "\n".join(_lines([Say(title), *document.blocks]))


def _lines(blocks: Iterable[Block]) -> list[str]:
    """The lines of blocks; what is not of one thing stands apart."""
    told = [(one, lines) for one in blocks if (lines := _block(one))]
    found = [line for _, lines in told[:1] for line in lines]
    for (before, _), (one, lines) in itertools.pairwise(told):
        run = isinstance(one, Section) and one.mark and one.title
        apart = ["", ""] if run else [] if _close(before, one) else [""]
        found += [*apart, *lines]
    return found


def _close(before: Block, one: Block) -> bool:
    """Whether it goes on with what stands before it."""
    match before, one:
        case Say(look=look), Say(look="note"):
            return look == "note"
        case Facts() | Items(), Say(look=look):
            return look in ("strong", "alarm")
        case Say() | Facts() | Items(), Items():
            return True
        case Facts(), Facts():
            return True
    return False


def _block(block: Block) -> list[str]:
    match block:
        case Say(text):
            return wrap(units.clean(text)) if text else []
        case Facts(phrases):
            return wrap(units.clean(" · ".join(map(_whole, phrases))))
        case Pairs(pairs):
            return [line for pair in pairs for line in wrap(units.clean(": ".join(pair)))]
        case Items(items, numbered):
            ranks = [f"{rank}. " if numbered else "" for rank in range(1, len(items) + 1)]
            return [line for pair in zip(items, ranks, strict=True) for line in _item(*pair)]
        case Table():
            table = text_table(block.heads, aside(block.rows), texts=block.texts)
            return [*wrap(units.clean(block.title)), *table]
        case Chart():
            told = [*wrap(units.clean(block.title)), *_block(block.table)]
            return told if block.told else []
        case Section(aside=False):
            lines = _lines(block.blocks)
            return [*wrap(units.clean(block.title)), *lines] if lines else []
    return []


def _whole(phrase: str) -> str:
    """A phrase that stays on a line where it is short."""
    return phrase.replace(" ", "\xa0") if len(phrase) <= WIDTH / 2 else phrase


def _item(item: Item, rank: str) -> list[str]:
    start, under, hang = (rank, "   ", "   ") if rank else ("  ", "    ", "  ")
    named = " ".join(filter(None, [item.mark, item.code]))
    said = f"{named}: {item.text}" if named else item.text
    lines = wrap(start + units.clean(said), hang=hang)
    lines += wrap(under + units.clean(item.more)) if item.more else []
    return lines + wrap(f"{under}next: {units.clean(item.command)}" * bool(item.command), end=" \\")


def aside(rows: Rows) -> list[list[str]]:
    """Give the marks behind numbers a column of their own, so that the digits stay below each
    other.
    """
    marked = [any(cell.endswith(DOUBT) for cell in column) for column in zip(*rows, strict=True)]
    return [
        [cell if cell.endswith(DOUBT) else cell + " " * mark for cell, mark in pairs]
        for pairs in (zip(row, marked, strict=True) for row in rows)
    ]


def wrap(line: str, *, hang: str = "  ", end: str = "") -> list[str]:
    """Return the line in lines that fit, the later ones indented by `hang` more than the first; all
    but the last end in `end`.
    """
    indent = " " * (len(line) - len(line.lstrip()))
    kept = line.replace(" %", "\xa0%")
    width = WIDTH - len(end)
    lines = textwrap.wrap(kept, width, subsequent_indent=indent + hang, break_on_hyphens=False)
    lines = [line.replace("\xa0", " ") for line in lines]
    return [*(line + end for line in lines[:-1]), *lines[-1:]]


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
    return tabulated(
        heads,
        rows,
        look=tabulate.TableFormat(None, rule, None, None, row, row, 0, None),
        colalign=["left"] * texts + ["right"] * (len(heads) - texts),
    )


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def tabulated(
    heads: Sequence[str], rows: Rows, *, look: tabulate.TableFormat, **align: Any
) -> list[str]:
    """Return the lines of a table whose cells are text, and stay as they are."""
    table = tabulate.tabulate(
        rows, heads, tablefmt=look, disable_numparse=True, preserve_whitespace=True, **align
    )
    return [line.rstrip() for line in table.splitlines()]
