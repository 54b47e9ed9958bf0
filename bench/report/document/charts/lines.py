"""The measures of a study over an axis of numbers, a line each of what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.ledger import units
from bench.ledger.grid.found import Point
from bench.ledger.grid.measures import Measure
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import look
from bench.report.document.charts.figure import LOG_FROM, RINGED, Figure, Line, Mark, draw

MOST = 8
"""Of more lines only the first are drawn; the table has them all."""


def lines(
    table: Table, points: Sequence[Sequence[Point | None]], measure: Measure, *, across: str
) -> Chart:
    """Return the table of a measure as lines, one for each of its columns of numbers.

    The first column has the places on the axis `across`, as numbers; `points` are those of the
    other cells, by row.
    """
    places = [float(row[0]) for row in table.rows]
    columns = table.heads[table.texts :]
    drawn = [
        Line(
            name=name,
            marks=[
                _mark(f"{name}, {across} {place:g}", place, row[column], measure)
                for place, row in zip(places, points, strict=True)
            ],
        )
        for column, name in enumerate(columns[:MOST])
    ]
    least, last = min(places, default=1.0), max(places, default=1.0)
    figure = Figure(
        lines=drawn,
        unit=measure.unit,
        axis=units.clean(across),
        places=places,
        log=least > 0 and last >= LOG_FROM * least,
    )
    return Chart(
        name=table.name,
        title=table.title or measure.title,
        said=_said(drawn, measure, len(columns)),
        table=table,
        draw=partial(draw, figure),
    )


def _mark(name: str, place: float, point: Point | None, measure: Measure) -> Mark | None:
    one = point and point.values.get(measure.name)
    if not point or not one or one.value is None:
        return None
    tip = f"{units.clean(name)}: {units.number(one.value)} {measure.unit}"
    tip += "" if point.valid else ", INVALID"
    return Mark(
        place=place, value=one.value, low=one.low, high=one.high, tip=tip, valid=point.valid
    )


def _said(drawn: Sequence[Line], measure: Measure, columns: int) -> str:
    """Who has the most, and where."""
    marks = [(one.value, line.name, one) for line in drawn for one in line.marks if one]
    if not marks:
        return "No run has a number."
    value, name, at = max(marks, key=lambda one: one[0])
    said = f"The most is {units.number(value)} {measure.unit}, of {look.cut(name)} at {at.place:g}."
    if measure.note:
        said += f" {measure.note.capitalize()}."
    if any(not one.valid for _, _, one in marks):
        said += f" {RINGED}"
    if columns > MOST:
        said += f" The picture has {MOST} of {columns} lines, the table all."
    return said
