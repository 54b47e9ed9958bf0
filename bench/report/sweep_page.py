"""A sweep as one self-contained HTML page: line charts as inline SVG, each with its table below.

Across, a chart's places are percent of its width, so that it fits a phone; down, they are pixels.
"""

from dataclasses import dataclass
from itertools import pairwise

from bench.ledger import units
from bench.ledger.grid import Sweep, SweepPoint
from bench.report.charts import scale
from bench.report.grid import Table, facts, invalid, tables
from bench.report.page import fill, span
from pipelines.topologies.scenario import TOPOLOGIES

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
    return fill(
        "sweep.html",
        sweep=sweep,
        headline=headline(sweep),
        invalid=invalid(sweep.runs),
        facts=facts(sweep),
        pictures=[picture(table) for table in tables(sweep)],
        runs=units.count(len(sweep.runs), "run"),
        bottom=BOTTOM,
    )


def headline(sweep: Sweep) -> str:
    """What the reader learns, from the points that can be trusted."""
    trusted = [point for point in sweep.points if point.valid]
    if not trusted:
        return "INVALID: no number here can be trusted"
    shares = [point.broker_share for point in trusted if point.broker_share is not None]
    if not shares:
        return f"What each crop costs the chain {sweep.chain}"
    taken = f"{span(shares)} of the time a request takes"
    return f"{taken} is in the broker, or waiting there for a worker"


def picture(table: Table) -> Picture:
    """Return the table's picture: both axes begin at 0, and downwards has round ticks."""
    values = [table.value(point) or 0.0 for _, points in table.rows for point in points]
    step, full = scale(max(values))
    furthest = max(fanout for fanout, _ in table.rows) or 1

    def down(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * value / full, 2)

    def mark(topology: str, fanout: int, point: SweepPoint | None) -> Mark | None:
        value = table.value(point)
        if point is None or value is None:
            return None
        tip = f"{topology}, fan-out {fanout}: {units.number(value)} {table.measure.unit}"
        tip += "" if point.valid else ", INVALID"
        return Mark(100 * fanout / furthest, down(value), tip, point.valid)

    lines = []
    for column, topology in enumerate(table.topologies):
        marks = [mark(topology, fanout, points[column]) for fanout, points in table.rows]
        joined = [(one, other) for one, other in pairwise(marks) if one and other]
        lines.append(Line(topology, look(topology), [one for one in marks if one], joined))
    return Picture(
        table=table,
        lines=lines,
        across=[(100 * fanout / furthest, str(fanout)) for fanout, _ in table.rows],
        down=[(down(i * step), f"{i * step:g}") for i in range(round(full / step) + 1)],
    )


def look(topology: str) -> str:
    """Return what a topology's line looks like; one that is not known has a look of its own."""
    return topology if topology in TOPOLOGIES else "unknown"
