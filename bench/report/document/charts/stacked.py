"""Stacked bars as a picture of its own, for slides: on pages they are HTML."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bench.report.document.blocks import Bars, Chart, Table
from bench.report.document.charts import colours, look

if TYPE_CHECKING:
    import altair as alt

STEP, BAR = 34, 24
TOTAL = 120
"""Room for the total beside a bar."""


def stacked(block: Bars) -> Chart:
    """Return the bars as a picture."""
    table = block.table or Table(
        name=block.name,
        heads=["", "total"],
        rows=[[bar.label, bar.total] for bar in block.bars],
    )
    return Chart(
        name=block.name,
        title=block.title,
        said=block.said or " ".join(f"{bar.label}: {bar.said}." for bar in block.bars),
        table=table,
        draw=partial(_draw, block),
    )


def _rows(block: Bars, most: int) -> list[dict[str, Any]]:
    """The lines of the picture: bars, and the name of a group above its first."""
    found, group = list[dict[str, Any]](), ""
    for bar in block.bars:
        if bar.group and bar.group != group:
            found.append({"label": look.cut(bar.group, most=most), "bold": True, "total": ""})
        group = bar.group
        total = look.cut(bar.total if bar.valid else f"{bar.total} INVALID", most=24)
        said = {"label": look.cut(bar.label, most=most), "bold": False, "total": total}
        found.append(said | {"bar": bar, "valid": bar.valid})
    return [one | {"row": at} for at, one in enumerate(found)]


def _draw(block: Bars, width: int) -> alt.TopLevelMixin:
    import altair as alt

    slim = look.narrow(width)
    most = 22 if slim else 40
    rows = _rows(block, most)
    left = max(look.pixels(one["label"]) for one in rows) + 10
    plot = look.plot(width, left=left, right=70 if slim else TOTAL)
    x = alt.X("from:Q", scale=alt.Scale(domain=[0, 100], nice=False), axis=None)
    y = alt.Y(
        "row:O",
        scale=alt.Scale(domain=[one["row"] for one in rows], paddingInner=1 - BAR / STEP),
        axis=None,
    )
    present = {segment.stage for bar in block.bars for segment in bar.segments}
    stages = [name for name in colours.STAGES if name in present]
    stages += sorted(present.difference(stages))
    colour = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=look.names(stages), range=[colours.stage(name) for name in stages]),
        legend=look.key(width, stages, symbolType="square"),
    )
    called = dict(zip(stages, look.names(stages), strict=True))
    parts = _parts(rows, called, plot)
    base = alt.Chart(look.rows(parts))
    layers = [
        *_ticks(block, x, len(rows) * STEP),
        base.mark_bar(aria=True).encode(
            x=x,
            x2=alt.X2("to"),
            y=y,
            color=colour,
            opacity=alt.Opacity(
                "faint:N", scale=alt.Scale(domain=[False, True], range=[1, 0.4]), legend=None
            ),
            description=alt.Description("tip:N"),
        ),
        base.mark_text(fontSize=12, fontWeight=600).encode(
            x=alt.X("middle:Q"),
            y=y,
            text=alt.Text("label:N"),
            color=alt.Color("ink:N", scale=None),
        ),
        *_words(rows, y, left),
    ]
    whole = alt.layer(*layers).resolve_scale(color="independent")
    return look.dressed(whole.properties(width=plot, height=STEP * len(rows)), width)


def _parts(rows: list[dict[str, Any]], called: dict[str, str], plot: int) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        at = 0.0
        for segment in row["bar"].segments if "bar" in row else ():
            label = look.cut(segment.label, most=12)
            fits = segment.width / 100 * plot >= look.pixels(label) + 6
            found.append(
                {
                    "row": row["row"],
                    "stage": called[segment.stage],
                    "from": at,
                    "to": at + segment.width,
                    "middle": at + segment.width / 2,
                    "tip": look.cut(segment.tip, most=200),
                    "label": label if fits else "",
                    "ink": colours.on(segment.stage) if row["valid"] else colours.INK,
                    "faint": not row["valid"],
                }
            )
            at += segment.width
    return found


def _words(rows: list[dict[str, Any]], y: alt.Y, left: int) -> list[alt.Chart]:
    """What a bar is called, before it, and its total behind it."""
    import altair as alt

    shown = ("row", "label", "total", "bold")
    data = [{name: row[name] for name in shown} for row in rows]
    ends = [
        {
            "row": row["row"],
            "to": sum(one.width for one in row["bar"].segments),
            "total": row["total"],
            "hue": colours.INK if row["valid"] else colours.BAD,
        }
        for row in rows
        if "bar" in row
    ]
    words = [
        alt.Chart(look.rows([one for one in data if one["bold"] is bold]))
        .mark_text(align="left", fontSize=12.5, fontWeight=700 if bold else 400, color=colours.INK)
        .encode(x=alt.value(-left), y=y, text=alt.Text("label:N"))
        for bold in (False, True)
        if any(one["bold"] is bold for one in data)
    ]
    totals = (
        alt.Chart(look.rows(ends))
        .mark_text(align="left", dx=7, fontSize=12.5, fontWeight=600)
        .encode(
            x=alt.X("to:Q"), y=y, text=alt.Text("total:N"), color=alt.Color("hue:N", scale=None)
        )
    )
    return [*words, totals]


def _ticks(block: Bars, x: alt.X, height: int) -> list[alt.Chart]:
    import altair as alt

    if not block.ticks:
        return []
    data = [{"from": at, "text": look.cut(text, most=12)} for at, text in block.ticks]
    base = alt.Chart(look.rows(data))
    return [
        base.mark_rule(color=colours.LINE).encode(x=x),
        base.mark_text(color=colours.SOFT, fontSize=12).encode(
            x=x, y=alt.value(height + 8), text=alt.Text("text:N")
        ),
    ]
