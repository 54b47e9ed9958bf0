"""A run over time, one part below the other on one axis: what was asked and answered, how late it
was, how many were in flight, and what CPU and memory it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.ledger import units
from bench.ledger.details.course import Course, Values
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import colours, look

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 84
LOG_FROM = 20
"""Times the median: where a latency is longer, its axis is logarithmic."""

LEAST_STOLEN = 0.02
"""Of a core: what other guests of the host took is shown from there on."""

NAMED_FROM = 60
"""So many pixels wide, what is not measured says so."""

APART = 40
"""So many pixels apart, what happened has numbers of its own."""


@dataclass(frozen=True)
class Part:
    """Lines below one title, by what they are called."""

    title: str
    lines: Mapping[str, Values]
    hues: Mapping[str, str]
    log: bool = False


def course(found: Course, *, name: str = "course") -> Chart:
    """Return the run over time; what its records do not have is left out, and said."""
    parts, lacking = _parts(found)
    return Chart(
        name=name,
        title="Over time",
        said=_said(found, lacking),
        table=_table(found, parts, name),
        draw=partial(_draw, found, parts),
    )


def _parts(found: Course) -> tuple[list[Part], list[str]]:
    """The parts that there are, and what there is not."""
    parts = [_requests(found), _latency(found)]
    lacking = []
    if any(found.in_flight):
        lines = {"most at once": found.crowded, "mean": found.in_flight}
        hues = {"most at once": colours.GREY, "mean": colours.BLUE}
        parts.append(Part("In flight, requests", lines, hues))
    else:
        lacking.append("how many requests were in flight")
    if found.cores:
        stolen = {"stolen": found.stolen} if _most(found.stolen) >= LEAST_STOLEN else {}
        parts.append(Part("CPU, cores", found.cores | stolen, colours.ROLES))
    else:
        lacking.append("CPU time")
    if found.memory_bytes:
        parts.append(_memory(found.memory_bytes))
    else:
        lacking.append("memory")
    return parts, lacking


def _requests(found: Course) -> Part:
    lines = {"due": found.due, "answered": found.answered}
    lines |= {"failed": found.failed} if any(found.failed) else {}
    hues = {"due": colours.GREY, "answered": colours.GREEN, "failed": colours.RED}
    return Part("Requests, a second", lines, hues)


def _latency(found: Course) -> Part:
    middle = sorted(one for one in found.p50_ms if one)
    log = bool(middle) and _most(found.most_ms) > LOG_FROM * middle[len(middle) // 2]
    lines = {"slowest": found.most_ms, "median": found.p50_ms}
    hues = {"slowest": colours.RED, "median": colours.BLUE}
    return Part("Latency by when it was due, ms", lines, hues, log)


def _memory(by_role: Mapping[str, Values]) -> Part:
    large = max(map(_most, by_role.values())) >= 1 << 30
    unit = 1 << 30 if large else 1 << 20
    lines = {
        role: [None if one is None else one / unit for one in values]
        for role, values in by_role.items()
    }
    return Part(f"Memory, {'GiB' if large else 'MiB'}", lines, colours.ROLES)


def _most(values: Values) -> float:
    return max((one for one in values if one is not None), default=0.0)


def _said(found: Course, lacking: Sequence[str]) -> str:
    said = [f"The window of measurement is {units.duration(found.window_s)} from 0 on"]
    said[0] += f", and each point is of {units.duration(found.step_s)}"
    said += [
        f"{number}: {one.said} at {units.duration(one.at_s)}"
        for number, one in enumerate(found.upsets, start=1)
    ]
    if lacking:
        said.append(f"This run has no record of {', nor of '.join(lacking)}")
    return f"{'. '.join(said)}."


def _table(found: Course, parts: Sequence[Part], name: str) -> Table:
    lines = [(line, values) for part in parts for line, values in part.lines.items()]
    heads = ["from s"]
    for part in parts:  # roles take CPU time and memory alike
        unit = part.title.rpartition(" ")[2] if part.hues is colours.ROLES else ""
        heads += [f"{line}, {unit}" if unit else line for line in part.lines]
    rows = [
        [f"{at:g}", *(units.number(values[place]) for _, values in lines)]
        for place, at in enumerate(found.at_s)
    ]
    return Table(name=name, heads=heads, rows=rows, title="Over time", texts=0)


def _draw(found: Course, parts: Sequence[Part], width: int) -> alt.TopLevelMixin:
    import altair as alt

    drawn = [
        _panel(found, part, width, first=part is parts[0], last=part is parts[-1]) for part in parts
    ]
    return look.dressed(alt.vconcat(*drawn).resolve_scale(color="independent"), width)


def _panel(found: Course, part: Part, width: int, *, first: bool, last: bool) -> Any:
    import altair as alt

    reach = alt.Scale(domain=[found.at_s[0], found.at_s[-1] + found.step_s], nice=False)
    if last:
        axis = look.across("seconds into the window of measurement", width)
    else:
        axis = look.across("", width, labels=False, ticks=False)
    told = [one for values in part.lines.values() for one in values if one is not None]
    positive = [one for one in told if one > 0]
    log = part.log and bool(positive)
    ticks = (
        look.decades(min(positive), max(told)) if log else look.scale(max(told, default=0), steps=4)
    )
    hues = {line: part.hues.get(line, colours.UNKNOWN) for line in part.lines}
    lines = (
        alt.Chart(look.rows(_points(found, part)))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("at:Q", scale=reach, axis=axis),
            y=alt.Y(
                "value:Q",
                scale=alt.Scale(
                    type="log" if log else "linear", domain=[ticks[0], ticks[-1]], nice=False
                ),
                axis=look.downwards(values=ticks),
            ),
            color=alt.Color(
                "line:N",
                scale=alt.Scale(domain=[*hues], range=[*hues.values()]),
                legend=look.key(width, [*hues], symbolType="stroke"),
            ),
        )
    )
    layers = [*_outside(found, width, named=first), lines, *_upsets(found, width, named=first)]
    title = look.title(part.title)
    return alt.layer(*layers).properties(width=look.plot(width), height=HEIGHT, title=title)


def _points(found: Course, part: Part) -> list[dict[str, Any]]:
    return [
        {
            "line": line,
            "at": at + found.step_s / 2,
            "value": value if value or not part.log else None,
        }
        for line, values in part.lines.items()
        for at, value in zip(found.at_s, values, strict=True)
    ]


def _outside(found: Course, width: int, *, named: bool) -> list[alt.Chart]:
    """What is not measured."""
    import altair as alt

    first, last = found.at_s[0], found.at_s[-1] + found.step_s
    spans = [(first, 0.0, "warm-up"), (found.window_s, last, "")]
    spans += [(low, high, "paused") for low, high in found.paused_s]
    pixels = look.plot(width) / (last - first)
    data = [
        {"at": low, "to": high, "said": said if (high - low) * pixels >= NAMED_FROM else ""}
        for low, high, said in spans
        if high > low
    ]
    if not data:
        return []
    base = alt.Chart(look.rows(data))
    shade = base.mark_rect(color=colours.LINE, opacity=0.5).encode(x=alt.X("at:Q"), x2=alt.X2("to"))
    words = base.mark_text(align="left", dx=4, fontSize=11, color=colours.SOFT).encode(
        x=alt.X("at:Q"), y=alt.value(HEIGHT - 8), text=alt.Text("said:N")
    )
    return [shade, words] if named else [shade]


def _upsets(found: Course, width: int, *, named: bool) -> list[alt.Chart]:
    """What happened at a moment, by its number; those too close to be told apart have one label."""
    import altair as alt

    if not found.upsets:
        return []
    pixels = look.plot(width) / (found.at_s[-1] + found.step_s - found.at_s[0])
    data = list[dict[str, Any]]()
    for number, one in enumerate(found.upsets, start=1):
        if data and (one.at_s - data[-1]["at"]) * pixels < APART:
            data[-1]["number"] += f",{number}"
        else:
            data.append({"at": one.at_s, "number": f"{number}"})
    rules = alt.Chart(look.rows([{"at": one.at_s} for one in found.upsets]))
    rule = rules.mark_rule(color=colours.BAD, strokeDash=[3, 3]).encode(x=alt.X("at:Q"))
    number = (
        alt.Chart(look.rows(data))
        .mark_text(color=colours.BAD, align="left", dx=3, fontSize=11.5, fontWeight=700)
        .encode(x=alt.X("at:Q"), y=alt.value(9), text=alt.Text("number:N"))
    )
    return [rule, number] if named else [rule]
