"""How all pictures look: room for the axis on the left, a title above each part, few lines of grid.

Widths and heights are pixels.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.ledger import units
from bench.report.document.charts import colours

if TYPE_CHECKING:
    import altair as alt

LEFT, RIGHT = 52, 16
NARROW = 600
"""Below that a picture is one for a phone."""

FONT = "sans-serif"
"""What the library measures text with, on every machine alike."""

LETTER, WIDER = 6.4, 1.15
"""About how wide a letter is, and how much wider in the widest font of a page."""

DASHES = ([1, 0], [8, 3], [2, 2], [8, 3, 2, 3], [4, 4])
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")

NUMBER = ",.6~r"
"""How an axis has its numbers."""

LONGEST, SHORT = 44, 28
"""So many characters of a name are shown, and on a phone."""


def plot(width: int, *, left: int = LEFT, right: int = 0) -> int:
    """Return the width of the part within the axes, with so much more free on its right."""
    return max(width - left - RIGHT - right, 120)


def narrow(width: int) -> bool:
    """Whether it is for a phone."""
    return width < NARROW


def pixels(text: str) -> int:
    """Return about how wide a text is in the widest font of a page."""
    return round(_letters(text) * LETTER * WIDER)


def _letters(text: str) -> int:
    """How many there are, of those that are twice as wide two each."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def cut(text: str, *, most: int = LONGEST) -> str:
    """Return a name with nothing to obey, no longer than so many letters."""
    shown = units.clean(text[: 2 * most])
    if _letters(shown) <= most and len(text) <= 2 * most:
        return shown
    while _letters(shown) >= most:
        shown = shown[:-1]
    return f"{shown}…"


def names(labels: Iterable[str], *, most: int = LONGEST) -> list[str]:
    """Return the names cut, and still different from each other."""
    found: list[str] = []
    for label in labels:
        name, number = cut(label, most=most), 2
        while name in found:
            end = f" ({number})"
            name, number = cut(label, most=most - len(end)) + end, number + 1
        found.append(name)
    return found


def scale(largest: float, *, steps: int = 5) -> list[float]:
    """Return round marks from 0 to the first that is not below the largest."""
    if not 0 < largest < math.inf:
        return [0.0, 1.0]
    unit = 10 ** math.floor(math.log10(largest / steps))
    step = next(unit * one for one in (1, 2, 2.5, 5, 10) if unit * one * steps >= largest)
    return [round(i * step, 12) for i in range(math.ceil(round(largest / step, 9)) + 1)]


def decades(least: float, largest: float) -> list[float]:
    """Return marks of a logarithmic axis, from below the least to above the largest: 1, 2, 5, 10,
    and where there would be many 1, 10.
    """
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(largest))
    each = (1, 2, 5) if high - low <= 3 else (1,)
    marks = [float(f"{one}e{power}") for power in range(low, high + 1) for one in each]
    first = max((i for i, one in enumerate(marks) if one <= least), default=0)
    last = min((i for i, one in enumerate(marks) if one >= largest), default=len(marks) - 1)
    return marks[first : max(last, first + 1) + 1]


def across(title: str, width: int, **how: Any) -> alt.Axis:
    """Return an axis along the lower edge."""
    import altair as alt

    ticks = how.pop("values", None)
    how |= {"tickCount": 5 if narrow(width) else 10} if ticks is None else {"values": ticks}
    return alt.Axis(title=title or None, grid=False, **how)


def downwards(*, left: int = LEFT, **how: Any) -> alt.Axis:
    """Return an axis along the left edge, as wide as all others."""
    import altair as alt

    how.setdefault("tickCount", 4)
    if "values" in how:
        del how["tickCount"]
        how.setdefault("format", NUMBER)
    return alt.Axis(
        title=None, minExtent=left, maxExtent=left, domain=False, ticks=False, orient="left", **how
    )


def fixed(ticks: Sequence[float], *, log: bool = False) -> alt.Scale:
    """Return the scale from the first to the last of the marks."""
    import altair as alt

    kind: Literal["log", "linear"] = "log" if log else "linear"
    return alt.Scale(type=kind, domain=[ticks[0], ticks[-1]], nice=False)


def title(text: str, *, offset: int = 8) -> alt.TitleParams:
    """Return what stands above a part, at the left: what its numbers are of, and their unit."""
    import altair as alt

    return alt.TitleParams(text=text, offset=offset)


def key(width: int, names: Sequence[str], *, above: int = 8, **how: Any) -> alt.Legend:
    """Return the key of colours or lines of that many `names`, above the picture.

    A page's font may be wider than the one that text is measured with.
    """
    import altair as alt

    longest = max(names, key=len, default="")
    columns = max(1, min(len(names), (width - LEFT) // (pixels(longest) + 44)))
    spare = round(pixels(longest) * (1 - 1 / WIDER))
    return alt.Legend(title=None, columns=columns, columnPadding=18 + spare, offset=above, **how)


def rows(data: Sequence[dict[str, Any]]) -> alt.InlineData:
    """Return data of a picture: a tuple, which unlike a list is not copied at each step."""
    import altair as alt

    return alt.InlineData(tuple(data))


def dressed(chart: Any, width: int) -> alt.TopLevelMixin:
    """Return the picture with the look of all."""
    small = 12 if narrow(width) else 12.5
    axis = {
        "labelColor": colours.SOFT,
        "titleColor": colours.SOFT,
        "labelFontSize": small,
        "titleFontSize": small,
        "titleFontWeight": "normal",
        "gridColor": colours.LINE,
        "domainColor": colours.SOFT,
        "tickColor": colours.SOFT,
        "labelLimit": 0,  # the library cuts letters in half: names are cut before
        "labelPadding": 5,
        "titlePadding": 8,
        "labelOverlap": "greedy",
        "labelSeparation": 8,
    }
    legend = {
        "orient": "top",
        "labelColor": colours.INK,
        "labelFontSize": small,
        "labelLimit": 0,
        "rowPadding": 4,
        "symbolStrokeWidth": 2,
        "symbolSize": 90,
        "symbolOpacity": 1,
        "padding": 0,
    }
    title = {
        "anchor": "start",
        "frame": "bounds",
        "color": colours.INK,
        "fontSize": 13,
        "fontWeight": 600,
        "offset": 8,
    }
    made: alt.TopLevelMixin = chart.configure(
        font=FONT,
        padding={"left": 0, "right": RIGHT, "top": 4, "bottom": 4},
        background="transparent",
        view={"stroke": None},
        axis=axis,
        legend=legend,
        title=title,
        mark={"aria": False},
        concat={"spacing": 14},
    )
    return made
