"""A sweep as one self-contained HTML page: line charts as inline SVG, each with its table below.

Across, a chart's places are percent of its width, so that it fits a phone; down, they are pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.ledger import units
from bench.ledger.grid import ORDER, Sweep, SweepPoint
from bench.report.charts import scale
from bench.report.grid import Table, facts, invalid, tables
from bench.report.page import template

TOP, BOTTOM = 26.0, 266.0
"""Where in a picture the largest value and 0 are."""


@dataclass(frozen=True)
class Mark:
    """A point of a line; `x` is percent of the width."""

    x: float
    y: float
    tip: str
    valid: bool


@dataclass(frozen=True)
class Line:
    """A topology's marks, and those of them that a line joins: no fan-out between them is missing.

    `look` names its colour, dashes and symbol.
    """

    topology: str
    look: str
    marks: list[Mark]
    joined: list[tuple[Mark, Mark]]


@dataclass(frozen=True)
class Picture:
    """A table as lines; the ticks are places with what is written there."""

    table: Table
    lines: list[Line]
    across: list[tuple[float, str]]
    down: list[tuple[float, str]]


def render_page(sweep: Sweep) -> str:
    """The page; every value in it is escaped, and control characters are spelt out."""
    return template("sweep.html").render(
        sweep=sweep,
        headline=headline(sweep),
        invalid=invalid(sweep.runs),
        facts=facts(sweep),
        pictures=[picture(table) for table in tables(sweep)],
        runs=units.count(len(sweep.runs), "run"),
        bottom=BOTTOM,
        look=look,
    )


def headline(sweep: Sweep) -> str:
    """What the reader learns, from the points that can be trusted."""
    trusted = [point for point in sweep.points if point.valid]
    if not trusted:
        return "INVALID: no number here can be trusted"
    shares = sorted(point.broker_share for point in trusted if point.broker_share is not None)
    if not shares:
        return f"What each crop costs the chain {sweep.chain}"
    low, high = units.percent(shares[0]), units.percent(shares[-1])
    taken = low if low == high else f"{low} to {high}"
    return f"{taken} of the time a request takes is in the broker, or waiting there for a worker"


def picture(table: Table) -> Picture:
    """Return the table's picture: both axes begin at 0, and downwards has round ticks."""
    values = [_value(table, point) or 0.0 for _, points in table.rows for point in points]
    step, full = scale(max(values))
    furthest = max(fanout for fanout, _ in table.rows) or 1
    return Picture(
        table=table,
        lines=[
            _line(table, column, furthest=furthest, full=full)
            for column in range(len(table.topologies))
        ],
        across=[(100 * fanout / furthest, str(fanout)) for fanout, _ in table.rows],
        down=[(_down(i * step, full), f"{i * step:g}") for i in range(round(full / step) + 1)],
    )


def look(topology: str) -> str:
    """Return what a topology's line looks like; one that is not known has a look of its own."""
    return topology if topology in ORDER else "unknown"


def _line(table: Table, column: int, *, furthest: int, full: float) -> Line:
    topology = table.topologies[column]
    marks: list[Mark | None] = []
    for fanout, points in table.rows:
        point = points[column]
        value = _value(table, point)
        if point is None or value is None:
            marks.append(None)
            continue
        tip = f"{topology}, fan-out {fanout}: {units.number(value)} {table.measure.unit}"
        tip += "" if point.valid else ", INVALID"
        marks.append(Mark(100 * fanout / furthest, _down(value, full), tip, point.valid))
    return Line(topology, look(topology), [mark for mark in marks if mark], _joined(marks))


def _joined(marks: Sequence[Mark | None]) -> list[tuple[Mark, Mark]]:
    return [(one, other) for one, other in pairwise(marks) if one and other]


def _value(table: Table, point: SweepPoint | None) -> float | None:
    return None if point is None else table.measure.of(point)


def _down(value: float, full: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * value / full, 2)
