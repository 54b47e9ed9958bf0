"""Single requests on one axis of time, from when each was due: whose stage which time is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.ledger import units
from bench.ledger.attribution.ledger import Timeline
from bench.ledger.details.examples import Details
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import colours, look

if TYPE_CHECKING:
    import altair as alt

STEP, BAR = 19, 14
"""From one request to the next, and how high it is."""

LEFT, ENDS = 98, 40
"""Room for what a request is called, and for how long it took."""

TOLD_FROM = 5
"""So many pixels wide, a segment says what it is when it is pointed at."""

Row = tuple[str, Timeline]


def waterfall(found: Details, *, name: str = "requests") -> Chart | None:
    """Return the request in the middle and the slowest, None where none succeeded."""
    if found.median is None:
        return None
    rows = [("median", found.median)]
    for number, one in enumerate(found.slowest, start=1):
        at_s = (one.request.due_ns - found.start_ns) / 1e9
        rows.append((f"{number}. at {at_s:.{2 if at_s < 1000 else 0}f} s", one))
    return Chart(
        name=name,
        title="The median request and the slowest",
        said=_said(found.median, found.slowest),
        table=_table(rows, name),
        draw=partial(_draw, rows),
    )


def _took_ms(one: Timeline) -> float:
    return (one.request.end_ns - one.request.due_ns) / 1e6


def _spent(one: Timeline) -> dict[str, int]:
    spent: dict[str, int] = {}
    for part in one.segments:
        spent[part.stage] = spent.get(part.stage, 0) + part.end_ns - part.start_ns
    return spent


def _said(median: Timeline, slowest: Sequence[Timeline]) -> str:
    """What grew most from the median request to the slowest."""
    first, last = _spent(median), _spent(slowest[0])
    grew = {name: ns - first.get(name, 0) for name, ns in last.items()}
    most = max(grew, key=lambda name: grew[name])
    longest, middle = (units.number(_took_ms(one)) for one in (slowest[0], median))
    said = "Each bar begins when a request was due. "
    said += f"The slowest took {longest} ms, the median {middle}"
    if grew[most] > 0:
        said += f"; most of what it took longer is {units.clean(most)}"
    return f"{said}."


def _stages(rows: Sequence[Row]) -> list[str]:
    present = {name for _, one in rows for name in _spent(one)}
    known = [name for name in colours.STAGES if name in present]
    return [*known, *sorted(present.difference(known))]


def _table(rows: Sequence[Row], name: str) -> Table:
    stages = _stages(rows)
    cells = []
    for label, one in rows:
        spent = _spent(one)
        told = (units.number(spent[s] / 1e6) if s in spent else units.ABSENT for s in stages)
        cells.append([label, units.clean(one.request.id), units.number(_took_ms(one)), *told])
    return Table(
        name=name,
        heads=["request", "id", "ms", *map(units.clean, stages)],
        rows=cells,
        title="Milliseconds of each request by stage",
        texts=2,
    )


def _draw(rows: Sequence[Row], width: int) -> alt.TopLevelMixin:
    import altair as alt

    slim = look.narrow(width)
    plot = look.plot(width, left=LEFT, right=ENDS)
    longest = max(_took_ms(one) for _, one in rows)
    ticks = [at for at in look.scale(longest, steps=4 if slim else 8) if at <= longest]
    stages = _stages(rows)
    x = alt.X(
        "from:Q",
        scale=alt.Scale(domain=[0, longest], nice=False),
        axis=look.across("ms since it was due", width, values=ticks),
    )
    y = alt.Y(
        "row:N",
        scale=alt.Scale(domain=[label for label, _ in rows], paddingInner=1 - BAR / STEP),
        axis=look.downwards(left=LEFT, labelOverlap=False),
    )
    colour = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=stages, range=[*map(colours.stage, stages)]),
        legend=look.key(width, stages, symbolType="square"),
    )
    parts = _parts(rows, stages)
    told = [one for one in parts if (one["to"] - one["from"]) / longest * plot >= TOLD_FROM]
    told = [] if slim else told
    quiet = [one for one in parts if one not in told]
    layers = [
        alt.Chart(look.rows(some))
        .mark_bar(aria=some is told)
        .encode(y=y, x=x, x2=alt.X2("to"), color=colour, description=alt.Description("tip:N"))
        for some in (quiet, told)
        if some
    ]
    took = [(label, _took_ms(one)) for label, one in rows]
    ends = [{"row": label, "from": ms, "text": units.number(ms)} for label, ms in took]
    layers.append(
        alt.Chart(look.rows(ends))
        .mark_text(align="left", dx=5, fontSize=11.5, color=colours.INK)
        .encode(y=y, x=x, text=alt.Text("text:N"))
    )
    whole = alt.layer(*layers).properties(width=plot, height=STEP * len(rows))
    return look.dressed(whole, width)


def _parts(rows: Sequence[Row], stages: Sequence[str]) -> list[dict[str, Any]]:
    """The segments of all, those of a stage one after the other."""
    found = []
    for label, one in rows:
        due = one.request.due_ns
        for stage, start, end in one.segments:
            low, high = (start - due) / 1e6, (end - due) / 1e6
            tip = f"{units.clean(stage)}: {units.number(high - low)} ms, from {units.number(low)}"
            found.append({"row": label, "stage": stage, "from": low, "to": high, "tip": tip})
    return sorted(found, key=lambda one: stages.index(str(one["stage"])))
