"""Lines and marks over an axis of numbers: the pictures of loads, and of studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.report.document.charts import colours, look

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 270
LOG_FROM = 50
"""Times the least place: an axis whose places reach further can be logarithmic."""

RINGED = "A red ring is around what is INVALID."


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value at a place, with its interval; `tip` says it."""

    place: float
    value: float
    low: float | None = None
    high: float | None = None
    tip: str = ""
    valid: bool = True


@dataclass(frozen=True, kw_only=True)
class Line:
    """Marks of one kind, `joined` in their order where they are neighbours."""

    name: str
    marks: Sequence[Mark | None]
    hue: str = ""
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Lines whose values are in `unit`, over what stands on the `axis`.

    `band` is a place between two others, with its name: where a knee is. `limit` is a value and
    what it says, `ideal` what would be without a limit. What is above the `top` is at its edge.
    """

    lines: Sequence[Line]
    unit: str
    axis: str
    band: tuple[float, float, float, str] | None = None
    limit: tuple[float, str] | None = None
    ideal: Sequence[tuple[float, float]] = ()
    top: float | None = None
    places: Sequence[float] = ()
    log: bool = False


def over(top: float | None, lines: Sequence[Line]) -> bool:
    """Whether something is higher than the picture."""
    return top is not None and any(one.value > top for line in lines for one in line.marks if one)


def draw(figure: Figure, width: int) -> alt.TopLevelMixin:
    """Return the picture."""
    import altair as alt

    slim = look.narrow(width)
    marks = [one for line in figure.lines for one in line.marks if one]
    most = max((max(one.value, one.high or 0.0) for one in marks), default=0.0)
    most = max(most, figure.limit[0] * 1.1 if figure.limit else 0.0)
    ticks = look.scale(most if figure.top is None else min(most, figure.top))
    last = max((one.place for one in marks), default=1.0) or 1.0
    first = min((one.place for one in marks), default=0.0) if figure.log else 0.0
    x = alt.X(
        "place:Q",
        scale=alt.Scale(type="log" if figure.log else "linear", domain=[first, last], nice=False),
        axis=look.across(
            figure.axis, width, **({"values": [*figure.places]} if figure.places else {})
        ),
    )
    y = alt.Y(
        "value:Q",
        scale=look.fixed(ticks),
        axis=look.downwards(values=ticks),
    )
    layers = [
        *_band(figure, x, (first, last)),
        *_ideal(figure, x, y, (last, ticks[-1])),
        *_lines(figure, x, y, ticks[-1], slim=slim, width=width),
        *_limit(figure, y),
    ]
    whole = alt.layer(*layers).properties(
        width=look.plot(width, right=8),
        height=HEIGHT,
        title=look.title(figure.unit, offset=18 if figure.band and len(figure.lines) < 2 else 8),
    )
    return look.dressed(whole, width)


def _lines(
    figure: Figure, x: alt.X, y: alt.Y, top: float, *, slim: bool, width: int
) -> list[alt.Chart]:
    import altair as alt

    names = look.names(
        [line.name for line in figure.lines], most=look.SHORT if slim else look.LONGEST
    )
    hues = [one.hue or colours.LINES[i % len(colours.LINES)] for i, one in enumerate(figure.lines)]
    key = None
    if len(names) > 1:
        above = 22 if figure.band else 8
        key = look.key(width, names, above=above, symbolStrokeWidth=0)
    kinds = range(len(names))
    colour = alt.Color("line:N", scale=alt.Scale(domain=names, range=hues), legend=key)
    dash = alt.StrokeDash(
        "line:N",
        scale=alt.Scale(domain=names, range=[look.DASHES[i % len(look.DASHES)] for i in kinds]),
        legend=None,
    )
    shape = alt.Shape(
        "line:N",
        scale=alt.Scale(domain=names, range=[look.SHAPES[i % len(look.SHAPES)] for i in kinds]),
        legend=key,
    )
    points, joined = list[dict[str, Any]](), list[dict[str, Any]]()
    for name, line in zip(names, figure.lines, strict=True):
        points += [_point(name, one, top) for one in line.marks if one]
        for order, one in enumerate(line.marks if line.joined else ()):
            at = _point(name, one, top) if one else {"line": name, "place": None, "value": None}
            joined.append(at | {"order": order})
    base = alt.Chart(look.rows(points))
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.35).encode(
            x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), color=colour
        )
    ]
    if joined:
        layers.append(
            alt.Chart(look.rows(joined))
            .mark_line(strokeWidth=2)
            .encode(x=x, y=y, color=colour, strokeDash=dash, order=alt.Order("order:Q"))
        )
    layers.append(
        base.mark_point(
            filled=True, size=70, opacity=1, stroke=colours.CARD, strokeWidth=1, aria=True
        ).encode(x=x, y=y, color=colour, shape=shape, description=alt.Description("tip:N"))
    )
    doubts = [one for one in points if not one["valid"]]
    if doubts:
        layers.append(
            alt.Chart(look.rows(doubts))
            .mark_point(filled=False, size=230, color=colours.BAD, strokeWidth=2)
            .encode(x=x, y=y)
        )
    return layers


def _point(name: str, one: Mark, top: float) -> dict[str, Any]:
    low = one.value if one.low is None else one.low
    high = one.value if one.high is None else one.high
    return {
        "line": name,
        "place": one.place,
        "value": min(one.value, top),
        "low": min(low, top),
        "high": min(high, top),
        "tip": one.tip,
        "valid": one.valid,
    }


def _band(figure: Figure, x: alt.X, ends: tuple[float, float]) -> list[alt.Chart]:
    """Where something is, and its interval."""
    import altair as alt

    if figure.band is None:
        return []
    low, at, high, name = figure.band
    low, at, high = (min(max(one, ends[0]), ends[1]) for one in (low, at, high))
    base = alt.Chart(look.rows([{"low": low, "place": at, "high": high, "name": name}]))
    side: Literal["left", "center", "right"] = "center"
    if not 0.2 * ends[1] < at < 0.8 * ends[1]:
        side = "left" if at <= 0.2 * ends[1] else "right"
    return [
        base.mark_rect(color=colours.BLUE, opacity=0.16).encode(
            x=alt.X("low:Q"), x2=alt.X2("high")
        ),
        base.mark_rule(color=colours.BLUE, strokeWidth=1.5, strokeDash=[5, 3]).encode(x=x),
        base.mark_text(color=colours.INK, fontSize=12, fontWeight=600, align=side).encode(
            x=x, y=alt.value(-9), text=alt.Text("name:N")
        ),
    ]


def _ideal(figure: Figure, x: alt.X, y: alt.Y, ends: tuple[float, float]) -> list[alt.Chart]:
    """What would come through without a limit."""
    import altair as alt

    points = [{"place": a, "value": b} for a, b in figure.ideal if a <= ends[0] and b <= ends[1]]
    if not points:
        return []
    line = alt.Chart(look.rows(points)).mark_line(
        color=colours.SOFT, strokeWidth=1, strokeDash=[2, 4]
    )
    return [line.encode(x=x, y=y)]


def _limit(figure: Figure, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    if figure.limit is None:
        return []
    base = alt.Chart(look.rows([{"value": figure.limit[0], "said": figure.limit[1]}]))
    return [
        base.mark_rule(color=colours.BAD, strokeWidth=1.5).encode(y=y),
        base.mark_text(color=colours.INK, fontSize=12, fontWeight=600, align="left", dy=-9).encode(
            x=alt.value(6), y=y, text=alt.Text("said:N")
        ),
    ]
