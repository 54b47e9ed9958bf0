"""A sweep or a matrix as text, Markdown, JSON or CSV: rendering only. Text fits 100 columns."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.ledger import units
from bench.ledger.grid import ALONE, Matrix, MatrixPoint, Sweep, SweepPoint, SweepRun
from bench.ledger.summary import Summary
from bench.report import formats
from bench.report.formats import markdown_table, plain, text_table, wrap
from pipelines.topologies.scenario import BROKERLESS

INVALID = "!"
"""What follows a number in which a run takes part that cannot be trusted."""

HEADS = (
    *("pipeline", "images", "place", "users", "images/s", "mean ms", "p99 ms"),
    *("not inference %", "of alone %"),
)
TEXTS = 3
"""So many columns of a matrix are words."""

NOTES = (
    "place none, images tensor: inference alone; processes of their own ask the DNN with a ready "
    "tensor, and nothing is decoded, resized or normalized",
    "of alone %: images/s over that of inference alone of the same pipeline with as many users",
    "not inference %: the part of a request's latency that is not inside the DNN",
)
"""Of a matrix."""


@dataclass(frozen=True)
class Measure:
    """What a table of a sweep and its picture show: `of` a point, None where that has none.

    It makes no sense of the topologies that it `skips`.
    """

    name: str
    title: str
    unit: str
    of: Callable[[SweepPoint], float | None]
    skips: tuple[str, ...] = ()
    note: str = ""


MEASURES = (
    Measure("throughput", "Throughput", "images/s", lambda point: point.throughput_per_s),
    Measure("latency", "Mean latency", "ms", lambda point: point.mean_ms),
    Measure(
        "broker",
        "Publish, broker and consume",
        "% of the latency",
        lambda point: _percent(point.broker_share),
        skips=BROKERLESS,
        note="what waits in the broker also waits for a worker that is busy with another request",
    ),
)


@dataclass(frozen=True)
class Table:
    """One measure: a row a fan-out, a cell a topology; None is a point that was not measured."""

    measure: Measure
    topologies: list[str]
    rows: list[tuple[int, list[SweepPoint | None]]]

    def value(self, point: SweepPoint | None) -> float | None:
        """Return the point's number, None where there is none."""
        return None if point is None else self.measure.of(point)

    def cell(self, point: SweepPoint | None) -> str:
        """Return the point's number in words, marked when it cannot be trusted."""
        return _number(self.value(point), valid=point is None or point.valid)


def tables(sweep: Sweep) -> list[Table]:
    """Return a table of each measure that makes sense of one of the topologies."""
    found = []
    for measure in MEASURES:
        names = [name for name in sweep.topologies if name not in measure.skips]
        rows = [(fanout, [sweep.point(fanout, name) for name in names]) for fanout in sweep.fanouts]
        found += [Table(measure, names, rows)] if names else []
    return found


def rows(matrix: Matrix) -> list[list[str]]:
    """Return each point of a matrix as cells under HEADS."""
    doubtful = {
        (point.pipeline, point.users)
        for point in matrix.points
        if point.place == ALONE and not point.valid
    }
    found = []
    for point in matrix.points:
        numbers = (
            *(point.images_per_s, point.mean_ms, point.p99_ms),
            _percent(point.not_inference_share),
        )
        beside = point.valid and (point.pipeline, point.users) not in doubtful
        found.append(
            [
                *(_label(point.pipeline), point.images, point.place, str(point.users)),
                *(_number(value, valid=point.valid) for value in numbers),
                _number(_percent(point.of_alone), valid=beside),
            ]
        )
    return found


def _label(pipeline: str) -> str:
    """The pipeline's name as a table shows it."""
    return f"{pipeline} (untrained)" if pipeline == "depth" else pipeline


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(value: float | None, *, valid: bool) -> str:
    text = units.number(value)
    return text if valid or text == units.ABSENT else text + INVALID


def facts(grid: Sweep | Matrix) -> list[str]:
    """Return what all runs share, and how many there are, one phrase each."""
    has = msgspec.structs.asdict(grid)
    named = ("preprocess", "place", "transport", "crops")
    runs = _each(len(p.folders) if isinstance(p, MatrixPoint) else p.runs for p in grid.points)
    return [
        *(f"{name} {has[name]}" for name in named if has.get(name)),
        *([f"DNNs on {has['device']}"] if "device" in has else []),
        *(["{} and {} workers".format(*has["workers"])] if has.get("workers") else []),
        *([f"batches of {has['batch']} at most"] if has.get("batch") else []),
        *([units.count(has["users"], "user")] if "users" in has else []),
        f"{units.duration(grid.duration_s)} a run",
        f"{runs} a {'row' if isinstance(grid, Matrix) else 'point'}",
        grid.machine,
    ]


def _each(counts: Iterable[int]) -> str:
    """How many runs there are of each: `1 run`, `median of 2 to 3 runs`."""
    distinct = sorted(set(counts))
    if distinct == [1]:
        return "1 run"
    ends = dict.fromkeys((distinct[0], distinct[-1]))
    return f"median of {' to '.join(map(str, ends))} runs"


def invalid(runs: Sequence[SweepRun] | Sequence[Summary]) -> str:
    """Return what the reader must know of runs that cannot be trusted, empty when all can."""
    amount = sum(not run.valid for run in runs)
    if not amount:
        return ""
    return (
        f"{amount} of {units.count(len(runs), 'run')} INVALID: the numbers marked "
        f"{INVALID} cannot be trusted; 'bench report RUN' says why"
    )


def _drawn(grid: Sweep | Matrix) -> list[tuple[str, list[str], list[list[str]], str]]:
    """What is above each table, its heads and rows, and what is below it."""
    if isinstance(grid, Matrix):
        return [("", list(HEADS), rows(grid), "")]
    return [
        (
            f"{table.measure.title}, {table.measure.unit}",
            ["fan-out", *table.topologies],
            [[str(fanout), *map(table.cell, points)] for fanout, points in table.rows],
            table.measure.note,
        )
        for table in tables(grid)
    ]


def _text(grid: Sweep | Matrix) -> str:
    if isinstance(grid, Matrix):
        texts, blocks, notes = TEXTS, [""], [*NOTES, grid.note]
    else:
        blocks = [f"{units.clean(grid.chain)} by fan-out, the number of crops an image has"]
        texts, notes = 0, []
    for above, heads, cells, below in _drawn(grid):
        lines = text_table(heads, _aside(cells), texts=texts)
        blocks += ["\n".join(filter(None, [above, *lines])), below]
    foot = [" · ".join(facts(grid)), *notes, invalid(grid.runs)]
    blocks.append("\n".join(line for one in foot for line in wrap(units.clean(one), hang="")))
    return "\n\n".join(filter(None, blocks))


def _aside(cells: list[list[str]]) -> list[list[str]]:
    """Give marks a column of their own, so that the digits stay below each other."""
    marked = [any(cell.endswith(INVALID) for cell in column) for column in zip(*cells, strict=True)]
    return [
        [cell if cell.endswith(INVALID) else cell + " " * mark for cell, mark in pairs]
        for pairs in (zip(row, marked, strict=True) for row in cells)
    ]


def _markdown(grid: Sweep | Matrix) -> str:
    if isinstance(grid, Matrix):
        named = grid.machine if grid.device == "cpu" else f"{grid.machine}, {grid.device}"
        texts, notes = TEXTS, list(NOTES)
        blocks = [f"# {plain(named)}", _strong(grid.note)]
    else:
        texts, notes = 0, []
        blocks = [f"### {plain(grid.chain)} by fan-out"]
    for above, heads, cells, below in _drawn(grid):
        shown = [list(map(plain, row)) for row in (heads, *cells)]
        table = markdown_table(shown[0], shown[1:], texts=texts)
        blocks += [above and f"{above}:", table, plain(below)]
    blocks += [" · ".join(map(plain, facts(grid))), _strong(invalid(grid.runs))]
    blocks.append("\n".join(f"- {plain(note)}" for note in notes))
    return "\n\n".join(filter(None, blocks))


def _strong(text: str) -> str:
    return text and f"**{plain(text)}**"


def _csv(grid: Sweep | Matrix) -> str:
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\n")
    out.writerow(grid.points[0].__struct_fields__)
    for point in grid.points:
        shown: dict[str, Any] = msgspec.structs.asdict(point)
        shown["valid"] = "yes" if point.valid else "INVALID"
        if isinstance(point, MatrixPoint):
            shown |= {"pipeline": _label(point.pipeline), "folders": " ".join(point.folders)}
        cells = shown.values()
        out.writerow(units.clean(cell) if isinstance(cell, str) else cell for cell in cells)
    return written.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sweep | Matrix], str]] = {
    "text": _text,
    "md": _markdown,
    "json": formats.json,
    "csv": _csv,
}


def render(grid: Sweep | Matrix, *, format: str) -> str:
    """Return it in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](grid)
