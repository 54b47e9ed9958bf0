"""A curve of loads with its knee, what comes through and how late; and the probes of a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.ledger import units
from bench.predict.curve import Curve
from bench.predict.found import Found, Row
from bench.predict.points import Point
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import colours
from bench.report.document.charts.figure import RINGED, Figure, Line, Mark, draw, over

QUANTILES = {"p50": colours.BLUE, "p95": colours.AMBER, "p99": colours.RED}

MOST_SLOWER = 40.0
"""A latency above so many times the least is cut off, or those below the knee would be one line."""

HELD = {
    True: ("held", colours.GREEN),
    None: ("unclear", colours.AMBER),
    False: ("broke", colours.RED),
}

MOST_OVER = 3.0
"""A latency above so many times its limit is cut off, or those below it would be one line."""

CUT = "What is higher than the picture is at its upper edge."


def throughput(curve: Curve, table: Table) -> Chart:
    """Return what came through of each load."""
    marks = [
        _mark(curve, point, point.load, point.throughput_per_s, of="requests/s come through")
        for point in curve.points
    ]
    last = max(point.load for point in curve.points)
    takes_s = curve.knee.takes_s if curve.knee else 1.0
    slope = 1.0 if curve.sweep == "rate" else 1 / takes_s
    ideal = [(last * i / 100, last * i / 100 * slope) for i in range(101)]
    known = curve.sweep == "rate" or curve.knee is not None
    return _chart(
        Figure(
            lines=[Line(name="comes through", marks=marks, hue=colours.GREEN)],
            unit="requests/s",
            axis=_axis(curve),
            band=_band(curve),
            ideal=ideal if known else (),
        ),
        curve,
        table,
        title="What comes through",
        said=["The thin line is what would come through without a limit."],
    )


def latency(curve: Curve, table: Table) -> Chart:
    """Return the quantiles of the latency at each load."""
    return _chart(
        Figure(
            lines=_quantiles(curve, [point.load for point in curve.points]),
            unit="latency, ms",
            axis=_axis(curve),
            band=_band(curve),
            top=_top(curve),
        ),
        curve,
        table,
        title="How late",
        said=["Bars are where the quantile is by 95 %."],
    )


def tradeoff(curve: Curve, table: Table) -> Chart:
    """Return the latency over what came through, one load after the other."""
    bend = curve.knee
    band = None
    if bend:
        band = (bend.capacity_low, bend.capacity_per_s, bend.capacity_high, "knee")
    return _chart(
        Figure(
            lines=_quantiles(curve, [point.throughput_per_s for point in curve.points]),
            unit="latency, ms",
            axis="requests/s that come through",
            band=band,
            top=_top(curve),
        ),
        curve,
        table,
        title="Latency by throughput",
        said=["Each line goes from the least load to the most."],
    )


def probes(found: Found, quantile: str, table: Table) -> Chart:
    """Return a quantile of each probe by its rate, with its limit."""
    limit = found.limits_ms[quantile]
    told = [one.value for row in found.probes if (one := row.quantiles.get(quantile))]
    known = [value for value in told if value is not None]
    top = min(max([1.25 * limit, *known]), MOST_OVER * limit)
    shown = [
        row
        for row in found.probes
        if row.held is False or ((one := row.quantiles.get(quantile)) and one.value is not None)
    ]
    lines = [
        Line(
            name=name,
            marks=[_probe(row, quantile, top) for row in shown if row.held is held],
            hue=hue,
            joined=False,
        )
        for held, (name, hue) in HELD.items()
        if any(row.held is held for row in shown)
    ]
    band = None
    if found.rate is not None and found.low is not None and found.high is not None:
        band = (found.low, found.rate, found.high, "the rate")
    figure = Figure(
        lines=lines,
        unit=f"{quantile}, ms",
        axis="requests that are due a second",
        band=band,
        limit=(limit, f"limit: {units.number(limit)} ms"),
        top=top,
    )
    said = "Each mark is a probe, bars are where the quantile is by 95 %."
    if len(shown) > len(known) or any(value > top for value in known):
        said += " At the upper edge is what is higher, and what broke in too few requests to tell."
    if any(not row.valid for row in shown):
        said += f" {RINGED}"
    return Chart(
        name=table.name,
        title=f"{quantile} of each probe",
        said=said,
        table=table,
        draw=partial(draw, figure),
    )


def _chart(figure: Figure, curve: Curve, table: Table, *, title: str, said: Sequence[str]) -> Chart:
    more = [CUT] if over(figure.top, figure.lines) else []
    more += [RINGED] if any(not point.valid for point in curve.points) else []
    return Chart(
        name=table.name,
        title=title,
        said=" ".join([*filter(None, said), *more]),
        table=table,
        draw=partial(draw, figure),
    )


def unit(curve: Curve) -> str:
    """Return what the loads are counted in."""
    return "requests/s" if curve.sweep == "rate" else "users"


def _axis(curve: Curve) -> str:
    return "requests that are due a second" if curve.sweep == "rate" else "users"


def _band(curve: Curve) -> tuple[float, float, float, str] | None:
    bend = curve.knee
    return (bend.at_low, bend.at, bend.at_high, "knee") if bend else None


def _top(curve: Curve) -> float | None:
    told = [
        one.value
        for point in curve.points
        for name, one in point.quantiles.items()
        if name in QUANTILES and one.value is not None
    ]
    return MOST_SLOWER * min(told) if told else None


def _quantiles(curve: Curve, places: Sequence[float]) -> list[Line]:
    lines = []
    for name, hue in QUANTILES.items():
        marks = list[Mark | None]()
        for point, place in zip(curve.points, places, strict=True):
            one = point.quantiles.get(name)
            if one is None or one.value is None:
                marks.append(None)
                continue
            marks.append(
                _mark(curve, point, place, one.value, of=f"ms, {name}", ends=(one.low, one.high))
            )
        lines.append(Line(name=name, marks=marks, hue=hue))
    return lines


def _mark(
    curve: Curve,
    point: Point,
    place: float,
    value: float,
    *,
    of: str,
    ends: tuple[float | None, float | None] = (None, None),
) -> Mark:
    tip = f"{units.number(point.load)} {unit(curve)}: {units.number(value)} {of}"
    tip += "" if point.valid else ", INVALID"
    low, high = ends
    return Mark(place=place, value=value, low=low, high=high, tip=tip, valid=point.valid)


def _probe(row: Row, quantile: str, top: float) -> Mark:
    one = row.quantiles.get(quantile)
    tip = f"{units.number(row.rate)} requests/s: {quantile} {units.quantile(one)} ms"
    tip += "" if row.valid else ", INVALID"
    if one is None or one.value is None:
        return Mark(place=row.rate, value=2 * top, tip=tip, valid=row.valid)
    return Mark(
        place=row.rate, value=one.value, low=one.low, high=one.high, tip=tip, valid=row.valid
    )
