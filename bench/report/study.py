"""The report of a study: its tables, their pictures, where the time goes, and the runs."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.ledger import units
from bench.ledger.grid.fit import Fit
from bench.ledger.grid.found import Found, Point
from bench.ledger.grid.measures import Measure, measure
from bench.ledger.quantiles import LEVEL
from bench.ledger.summary import Summary
from bench.record.scenario import TENSOR
from bench.report import bars, run, words
from bench.report.document import written
from bench.report.document.blocks import (
    DOUBT,
    Block,
    Chart,
    Document,
    Facts,
    Item,
    Items,
    Pairs,
    Say,
    Section,
    Table,
)
from bench.report.document.charts.lines import lines

FEW = ", of fewer than six runs from the least to the most"

MOST_SECTIONS = 12
"""Of more cells the table alone says where the time goes, and 'bench report RUN' the rest."""


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
    heads += [_times_head(found, name) for name in found.alone]
    rows = []
    for point in found.points:
        numbers = [cell(one, point) for one in found.shown]
        of = None if point.of_beside is None else 100 * point.of_beside
        share = _marked(units.number(of), valid=_beside_valid(found, point))
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


def _times_head(found: Found, name: str) -> str:
    """A throughput is a part of the other one, a time so many times as long."""
    if name == "throughput":
        return f"of {named_by(found.alone[name])} %"
    return f"{name.removeprefix('stage.')} x"


def _beside_valid(found: Found, point: Point) -> bool:
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


def facts(found: Found) -> list[str]:
    """Return what all runs share, and how many there are, one phrase each."""
    counts = sorted({len(point.runs) for point in found.points})
    ends = dict.fromkeys(counts[:1] + counts[-1:])
    runs = "1 run" if counts == [1] else f"median of {' to '.join(map(str, ends))} runs"
    return [*units.phrases(found.settings), f"{runs} a cell", found.machine]


def doubts(found: Found) -> list[str]:
    """Return what is wrong or lacking, a sentence each."""
    amount = sum(not run.valid for run in found.runs)
    said = []
    if amount:
        said.append(
            f"{amount} of {units.count(len(found.runs), 'run')} INVALID: the numbers marked "
            f"{DOUBT} cannot be trusted; 'bench report RUN' says why"
        )
    said += [f"no run of {name}: {error}" for name, error in found.failed.items()]
    said += [f"no counter of energy for {why}" for why in found.uncounted]
    return said + [f"left out on this machine: {why}" for why in found.lacking]


def notes(found: Found) -> list[str]:
    """Return what the numbers mean, a sentence each."""
    said = [one.note for one in found.shown if one.note]
    if any(one.quantile for one in found.shown):
        several = any(len(point.runs) > 1 for point in found.points)
        of = "the median of the runs' quantiles is" if several else "the quantile is"
        said.append(f"(low to high): where {of} by {100 * LEVEL:.0f} %{FEW if several else ''}")
    if found.beside:
        named, like = named_by(found.beside), beside(found)
        said.append(f"of {named} %: images/s over that of {like}, all else alike")
    for name, where in found.alone.items():
        own = "" if name == "throughput" else "its "
        said.append(
            f"{_times_head(found, name)}: {own}{measure(name).head} over that of "
            f"{named_by(where)}, all else alike"
        )
    said += [_line(found, one) for one in found.fits]
    if found.fits:
        said.append("R²: the part of the variance that a line by least squares explains")
    return [*said, *([found.note] if found.note else [])]


def _line(found: Found, fit: Fit) -> str:
    """`decode: 11.2 ms a megapixel + 0.4 ms, R² 0.998 (users 1, 5 cells)`."""
    of, against = measure(fit.measure), measure(fit.against)
    at = [f"{axis} {label}" for axis, label in fit.at.items() if axis in found.axes]
    sign, rest = "-" if fit.intercept < 0 else "+", units.number(abs(fit.intercept))
    at.append(units.count(len(fit.cells), "cell"))
    slope = f"{units.number(fit.slope)} {of.unit} x {against.unit} {sign} {rest} {of.unit}"
    return f"{of.title} = {slope}, R² {units.number(fit.r2)} ({', '.join(at)})"


def named_by(where: Mapping[str, str]) -> str:
    """Return what cells are called that have these values: numbers say of what they are."""
    return " ".join(
        value if not value.isdigit() else f"{axis}={value}" for axis, value in where.items()
    )


def beside(found: Found) -> str:
    """Return what the cells are compared with."""
    named = named_by(found.beside)
    return "inference alone" if named == TENSOR else named


def headline(found: Found) -> str:
    """Return what the reader learns, from the points that can be trusted: of the throughput of what
    they are compared with, or of the first measure.
    """
    asked = found.shown[0]
    trusted = [
        value.value
        for point in found.points
        if point.valid and (value := point.values[asked.name]) and value.value is not None
    ]
    said = asked.said
    if found.beside:
        said = f"{{}} % of the throughput of {beside(found)} comes through"
        trusted = [
            100 * point.of_beside
            for point in found.points
            if point.of_beside and point.cell != point.beside and _beside_valid(found, point)
        ]
    if not trusted:
        any_valid = any(point.valid for point in found.points)
        if any_valid and asked.absent != units.ABSENT:
            return f"{asked.title}: {asked.absent}"
        return "There is nothing to show" if any_valid else "INVALID: no number here can be trusted"
    ends = dict.fromkeys(map(units.number, (min(trusted), max(trusted))))
    return said.format(" to ".join(ends))


def where(found: Found, shown: Sequence[Summary]) -> list[tuple[str, str]]:
    """Return what each point is called, and where the time of its run in `shown` goes."""
    names = [" ".join(labels(found, point)) for point in found.points]
    return list(zip(names, map(words.breakdown, shown), strict=True))


def document(found: Found, shown: Sequence[Summary]) -> Document:
    """Return the report; `shown` are the runs that stand for the points. An axis of numbers makes
    pictures of lines, else there are bars of where the time goes.
    """
    few = len(shown) <= MOST_SECTIONS
    links = [f"run-{rank}" for rank in range(1, len(shown) + 1)] if few else []
    blocks: list[Block] = [Say(found.question), Facts(facts(found))]
    blocks.append(Items([Item(text=one, mark="warning") for one in doubts(found)]))
    if found.across:
        blocks += [_lines(found, one) for one in tables(found)]
    else:
        grouped = _grouped(found)
        blocks += [bars.latency(shown, grouped, links), bars.shares(shown, grouped, links)]
        blocks += [_table(one) for one in tables(found)]
    blocks += [Say(one, "note") for one in notes(found)]
    if few:
        blocks.append(Section(title="In words", name="words", blocks=[Pairs(where(found, shown))]))
    sections = [
        Section(title=f"run {one.run}", name=link, blocks=run.section(one, link), aside=True)
        for one, link in zip(shown, links, strict=False)
    ]
    blocks += [_runs(found), *sections]
    return Document(title=found.title, headline=headline(found), blocks=blocks)


def _grouped(found: Found) -> list[tuple[str, str]]:
    """The group of bars that a point is in, and what it is called there: by the last two axes."""
    names = [labels(found, point) for point in found.points]
    own = max(1, min(2, len(found.axes) - 1))
    return [(" · ".join(one[:-own]), " · ".join(one[-own:])) for one in names]


def _lines(found: Found, one: Measured) -> Chart:
    measure = one.measure or found.shown[0]
    points = [row[one.texts :] if one.measure is None else row for row in one.points]
    table = replace(_table(one), title="")
    drawn = lines(table, points, measure, across=found.across)
    return replace(drawn, title=one.title, told=True)


def _table(one: Measured) -> Table:
    return Table(
        name=one.name,
        title=one.title,
        heads=one.heads,
        rows=one.rows,
        texts=one.texts,
        doubts=one.doubts,
    )


def _runs(found: Found) -> Section:
    """All its runs with their verdicts, which a reader opens."""
    rows = [
        [
            one.run,
            one.cell,
            ", ".join(one.issues) or units.ABSENT,
            "yes" if one.valid else "INVALID",
        ]
        for one in found.runs
    ]
    doubts = [not one.valid for one in found.runs]
    heads = ["run", "cell", "issues", "valid"]
    told = Table(name="runs", heads=heads, rows=rows, texts=4, doubts=doubts)
    title = units.count(len(found.runs), "run")
    return Section(title=title, name="runs", blocks=[told], folded=True, aside=True)


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


FORMATS = (*written.FORMATS, "csv")


def render(found: Found, shown: Sequence[Summary], *, format: str) -> str:
    """Return it in one of the FORMATS, without a newline at its end; `shown` are the runs that
    stand for the points.
    """
    if format == "csv":
        return table(found)
    return written.written(document(found, shown), format=format, data=lambda: found)
