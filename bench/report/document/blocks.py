"""A report as blocks in the order in which they are read: what is said, and nothing of how it is
shown. Every string in them is plain text, which each writer escapes as it must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # which takes long to import, and only pages have pictures
    import altair as alt

Look = Literal["plain", "strong", "note", "alarm"]
Mark = Literal["INVALID", "warning", "VALID", ""]

DOUBT = "!"
"""What follows a number that cannot be trusted."""


@dataclass(frozen=True)
class Say:
    """A sentence, or several: `strong` is an answer, a `note` says what numbers mean, and an
    `alarm` that they cannot be trusted.
    """

    text: str
    look: Look = "plain"


@dataclass(frozen=True)
class Facts:
    """Phrases that stand beside each other."""

    phrases: Sequence[str]


@dataclass(frozen=True)
class Pairs:
    """Words or names below each other, each with what there is to say of it."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A point of a list: an issue by its `mark`, or a finding; `more` is a hint or the evidence,
    and `command` what to type next.
    """

    text: str
    mark: Mark = ""
    code: str = ""
    more: str = ""
    command: str = ""


@dataclass(frozen=True)
class Items:
    """A list, numbered where its order counts."""

    items: Sequence[Item]
    numbered: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells under `heads`: the first `texts` columns are words, the others numbers.

    `name` is how a program finds it. `doubts` says which rows cannot be trusted, and `links` names
    the section that a row is about.
    """

    name: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    texts: int = 1
    doubts: Sequence[bool] = ()
    links: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with axes, and the `table` of its numbers; `said` is it in a sentence.

    `draw` makes it so many pixels wide. Text has its table where that is `told` nowhere else.
    """

    name: str
    title: str
    said: str
    table: Table
    draw: Callable[[int], alt.TopLevelMixin]
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One stage's part of a bar, `width` in percent of the chart's, and what it says."""

    stage: str
    width: float
    tip: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A stacked bar, its `total` beside it; without segments where no request succeeded. `link`
    names the section that it is about.
    """

    label: str
    total: str
    said: str
    segments: Sequence[Segment]
    valid: bool = True
    group: str = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Stacked bars on one scale, with `ticks` in percent of the width, the meaning of each of the
    `stages`, and the `table` behind them. Text leaves them out.
    """

    name: str
    bars: Sequence[Bar]
    stages: Sequence[tuple[str, str]]
    title: str = ""
    said: str = ""
    ticks: Sequence[tuple[float, str]] = ()
    table: Table | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part, which its `name` leads to. Some stand `beside` each other where there is room;
    what is `folded` a reader opens, and what is `aside` a page alone has.
    """

    title: str
    name: str
    blocks: Sequence[Block]
    mark: Mark = ""
    beside: bool = False
    folded: bool = False
    aside: bool = False


Block = Say | Facts | Pairs | Items | Table | Chart | Bars | Section


@dataclass(frozen=True, kw_only=True)
class Document:
    """A report: `title` is what it is of, and `headline` what the reader learns."""

    title: str
    headline: str
    blocks: Sequence[Block]

    def pictures(self) -> dict[str, Chart | Bars]:
        """Return all in it, by their names."""
        return {one.name: one for one in _pictures(self.blocks)}


def _pictures(blocks: Iterable[Block]) -> Iterator[Chart | Bars]:
    for one in blocks:
        if isinstance(one, Chart | Bars):
            yield one
        elif isinstance(one, Section):
            yield from _pictures(one.blocks)
