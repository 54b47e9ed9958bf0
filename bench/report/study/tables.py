"""The tables of a study: of all its measures, or one of each; and all its numbers as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.ledger import units
from bench.ledger.grid.found import Found, Point
from bench.ledger.grid.measures import Measure
from bench.report.document.blocks import DOUBT


@dataclass(frozen=True)
class Measured:
    """A table of a study: of one `measure`, where it has a column for each value of an axis.

    The first `texts` columns are words. `points` are those of the cells, by row. `group` is what
    all have alike, where there are several tables of a measure.
    """

    measure: Measure | None
    heads: list[str]
    texts: int
    rows: list[list[str]]
    points: list[list[Point | None]]
    group: str = ""

    @property
    def name(self) -> str:
        """What it is called in a page."""
        name = self.measure.name if self.measure else "cells"
        return "-".join([name, *self.group.split()])

    @property
    def doubts(self) -> list[bool]:
        """Whether a row has a number that cannot be trusted."""
        return [any(point and not point.valid for point in row) for row in self.points]

    @property
    def title(self) -> str:
        """`Throughput, small, images/s`; empty of all measures."""
        named = [self.measure.title, self.group, self.measure.unit] if self.measure else []
        return ", ".join(filter(None, named))


def tables(found: Found) -> list[Measured]:
    """Return one table of all measures, or one of each measure that has a number; with an axis of
    numbers, that has the rows, and what other axes there are has tables of its own.
    """
    if not (found.columns or found.across):
        return [_whole(found)]
    rest = [axis for axis in found.axes if axis not in (found.across, found.columns)]
    rest = rest if found.across else []
    groups: dict[str, list[Point]] = {}
    for point in found.points:
        groups.setdefault(" ".join(_label(axis, point.at[axis]) for axis in rest), []).append(point)
    return [
        _pivoted(found, measure, group, points)
        for measure in found.shown
        for group, points in groups.items()
        if any(point.values[measure.name] for point in points)
    ]


def _whole(found: Found) -> Measured:
    heads = [f"of {named_by(found.beside)} %"] if found.beside else []
    heads += [times_head(found, name) for name in found.alone]
    rows = []
    for point in found.points:
        numbers = [cell(one, point) for one in found.shown]
        of = None if point.of_beside is None else 100 * point.of_beside
        share = _marked(units.number(of), valid=beside_valid(found, point))
        rows.append(
            [
                *labels(found, point),
                *numbers,
                *([share] if found.beside else []),
                *(_times(found, name, point) for name in found.alone),
            ]
        )
    heads = [*found.axes, *(one.head for one in found.shown), *heads]
    return Measured(None, heads, len(found.axes), rows, [[point] for point in found.points])


def _times(found: Found, name: str, point: Point) -> str:
    other = point.alone.get(name)
    valid = point.valid and all(one.valid for one in found.points if one.cell == other)
    times = point.of_alone.get(name)
    if name == "throughput" and times is not None:
        times *= 100
    return _marked(units.number(times), valid=valid)


def times_head(found: Found, name: str) -> str:
    """A throughput is a part of the other one, a time so many times as long."""
    if name == "throughput":
        return f"of {named_by(found.alone[name])} %"
    return f"{name.removeprefix('stage.')} x"


def beside_valid(found: Found, point: Point) -> bool:
    """Whether a ratio can be trusted: the point, and that which it is compared with."""
    return point.valid and all(one.valid for one in found.points if one.cell == point.beside)


def _pivoted(found: Found, measure: Measure, group: str, points: Sequence[Point]) -> Measured:
    """A row for what is alike in all axes but one, of which each value has a column."""
    own = [found.across] if found.across else [a for a in found.axes if a != found.columns]
    by_place: dict[tuple[str, ...], dict[str, Point]] = {}
    for point in points:
        row = by_place.setdefault(tuple(_label(axis, point.at[axis]) for axis in own), {})
        row[point.at[found.columns] if found.columns else measure.head] = point
    columns = dict.fromkeys(
        name for row in by_place.values() for name, one in row.items() if one.values[measure.name]
    )
    ordered = [[row.get(name) for name in columns] for row in by_place.values()]
    rows = [
        [*place, *(cell(measure, one) for one in row)]
        for place, row in zip(by_place, ordered, strict=True)
    ]
    return Measured(measure, [*own, *columns], len(own), rows, ordered, group)


def labels(found: Found, point: Point) -> list[str]:
    """Return what the point is called, by axis."""
    return [_label(axis, point.at[axis]) for axis in found.axes]


def _label(axis: str, label: str) -> str:
    return f"{label} (untrained)" if (axis, label) == ("pipeline", "depth") else label


def cell(measure: Measure, point: Point | None) -> str:
    """Return the point's number in words, marked when it cannot be trusted."""
    value = point.values[measure.name] if point else None
    if point and value is None:
        return measure.absent
    text = (
        units.quantile(value) if measure.quantile else units.number(value.value if value else None)
    )
    return _marked(text, valid=not point or point.valid)


def _marked(text: str, *, valid: bool) -> str:
    return text if valid or text == units.ABSENT else text + DOUBT


def named_by(where: Mapping[str, str]) -> str:
    """Return what cells are called that have these values: numbers say of what they are."""
    return " ".join(
        value if not value.isdigit() else f"{axis}={value}" for axis, value in where.items()
    )


def table(found: Found) -> str:
    """A row a cell: its axes, each measure with its least and largest, stages, and the runs."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    ends = ("", "_low", "_high")
    measured = [f"{name}{end}" for name in found.measures for end in ends]
    stages = list(dict.fromkeys(name for point in found.points for name in point.stages_ms))
    lines = [f"{name}_{of}" for name in _fitted(found) for of in ("slope", "intercept", "r2")]
    times = [f"{name}_of_alone" for name in found.alone]
    heads = [*measured, "of_beside", *times, *(f"{name}_ms" for name in stages), *lines, "runs"]
    out.writerow([*found.axes, "valid", *heads])
    for point in found.points:
        values = [point.values[name] for name in found.measures]
        numbers = [
            number
            for value in values
            for number in ((value.value, value.low, value.high) if value else (None,) * 3)
        ]
        named = [units.clean(label) for label in labels(found, point)]
        runs = units.clean(" ".join(point.runs))
        valid = "yes" if point.valid else "INVALID"
        numbers += [point.of_beside, *map(point.of_alone.get, found.alone)]
        numbers += [*map(point.stages_ms.get, stages), *_of_lines(found, point)]
        out.writerow([*named, valid, *numbers, runs])
    return file.getvalue().rstrip("\n")


def _fitted(found: Found) -> list[str]:
    return list(dict.fromkeys(fit.measure for fit in found.fits))


def _of_lines(found: Found, point: Point) -> list[float | None]:
    """Slope, intercept and R² of the line of each measure that is of what the point is alike in."""
    numbers: list[float | None] = []
    for name in _fitted(found):
        of = [one for one in found.fits if one.measure == name and point.cell in one.cells]
        numbers += [of[0].slope, of[0].intercept, of[0].r2] if of else [None] * 3
    return numbers
