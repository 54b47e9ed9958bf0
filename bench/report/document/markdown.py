"""A document as Markdown that GitHub shows: text in it is no tag, no mention and no link."""

import re
from collections.abc import Iterator, Sequence
from html import escape

import tabulate

from bench.ledger import units
from bench.report.document.blocks import (
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
from bench.report.document.text import tabulated

_SAY = {"strong": "**{}**", "alarm": "**{}**", "note": "<sub>{}</sub>", "plain": "{}"}
_BAD = ("INVALID", "regression", "too noisy", "invalid")
"""Cells that stand out."""


def write(document: Document) -> str:
    """Return it without a newline at its end."""
    title = ": ".join(filter(None, [document.title, document.headline]))
    fold = sum(isinstance(one, Section) and bool(one.mark) for one in document.blocks) > 1
    return "\n\n".join([f"### {plain(title)}", *_parts(document.blocks, fold=fold)])


def _parts(blocks: Sequence[Block], *, fold: bool = False) -> Iterator[str]:
    """The paragraphs; of several runs each is `fold`ed, but for those that cannot be trusted."""
    for block in blocks:
        match block:
            case Say(text, look) if text:
                yield _SAY[look].format(plain(text))
            case Facts(phrases) if phrases:
                yield " · ".join(map(plain, phrases))
            case Pairs(pairs) if pairs:
                yield "\n".join(f"- **{plain(name)}**: {plain(text)}" for name, text in pairs)
            case Items(items, numbered) if items:
                marks = [f"{i}." if numbered else "-" for i in range(1, len(items) + 1)]
                yield "\n".join(f"{m} {_item(one)}" for m, one in zip(marks, items, strict=True))
            case Table():
                yield from [f"**{plain(block.title)}**"] if block.title else []
                yield table(block)
            case Chart(told=True):
                yield f"**{plain(block.title)}**"
                yield table(block.table)
            case Section(aside=False):
                yield from _section(block, fold=fold and bool(block.mark))


def _section(section: Section, *, fold: bool) -> Iterator[str]:
    told = "\n\n".join(_parts(section.blocks))
    if fold or section.folded:
        shown = " open" if section.mark == "INVALID" else ""
        named = " ".join(filter(None, [quoted(section.title), section.mark]))
        yield f"<details{shown}><summary>{named}</summary>\n\n{told}\n\n</details>"
    elif told:
        yield from [f"**{plain(section.title)}**"] if section.title else []
        yield told


def _item(item: Item) -> str:
    named = [f"**{item.mark}**" if item.mark == "INVALID" else item.mark]
    named += [code(item.code)] if item.code else []
    start = " ".join(filter(None, named))
    said = [f"{start}: {plain(item.text)}" if start else plain(item.text)]
    said += [f"_{plain(item.more)}_"] if item.more else []
    return " ".join([*said, *([f"next: {code(item.command)}"] if item.command else [])])


def table(one: Table) -> str:
    """Return a table; what cannot be trusted is bold."""
    rows = [[_cell(cell) for cell in row] for row in one.rows]
    rule = " | ".join([":--"] * one.texts + ["--:"] * (len(one.heads) - one.texts))
    row = tabulate.DataRow("| ", " | ", " |")
    look = tabulate.TableFormat(None, lambda *_: f"| {rule} |", None, None, row, row, 0, None)
    return "\n".join(tabulated([*map(plain, one.heads)], rows, look=look, stralign=None))


def _cell(cell: str) -> str:
    return f"**{cell}**" if cell in _BAD else plain(cell)


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
