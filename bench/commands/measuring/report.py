"""`bench report`: from the folders of stored runs, or of what several were made for, to what is
printed.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from bench.commands.show import EXIT_INVALID, exit_code
from bench.compare.observations import EXPERIMENT
from bench.compare.stored import of_experiment
from bench.ledger.details.examples import Details, details
from bench.ledger.grid.kept import STUDY, Kept
from bench.ledger.reading import read, summary_of
from bench.predict import curve, found
from bench.record.files import read_versioned
from bench.report import capacity, comparison
from bench.report import run as run_report
from bench.report.document import terminal, written
from bench.report.document.blocks import Bars, Chart, Document
from bench.report.document.charts import drawing
from bench.report.document.charts.stacked import stacked
from bench.report.study import page as study
from bench.report.study.tables import table
from pipelines.errors import ResultsError

T = TypeVar("T")

CSV = "csv"
CURVE, SEARCH = "curve.json", "slo.json"
DRAWN = ("svg", "png")

MOST_PICTURED = 24
"""Of more runs the page would be larger than 3 MB with pictures of each."""


class _Report(NamedTuple):
    """What a report is made of."""

    document: Document
    data: Callable[[], Any]
    code: int
    table: Callable[[], str] | None = None


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", type=click.Choice(sorted([*written.FORMATS, CSV, *DRAWN])), default="text"
)
@click.option("--picture", metavar="NAME", help="Of svg and png: which; a wrong one lists them.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write there instead of to the terminal."
)
def command(runs: tuple[Path, ...], format: str, picture: str | None, output: Path | None) -> int:
    """Print the report of folders of runs, or of one study, experiment, curve or search."""
    if picture and format not in DRAWN:
        raise click.UsageError(f"--picture is of --format {' and '.join(DRAWN)}")
    made = _made(runs, pictured=format in ("html", *DRAWN) and len(runs) <= MOST_PICTURED)
    if format in DRAWN:
        _draw(_picture(made.document, picture), format=format, output=output)
        return made.code
    if format == CSV:
        if not made.table:
            raise click.UsageError("--format csv is of a study; of runs it is bench export's")
        text = made.table()
    else:
        text = written.written(made.document, format=format, data=made.data)
    if output is None:
        terminal.show(text, format=format)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    return made.code


def _made(folders: Sequence[Path], *, pictured: bool) -> _Report:
    """Read what there is. Raises ResultsError when it is damaged, or is none."""
    first = folders[0]
    if len(folders) == 1:
        for name, reads in READS.items():
            if (first / name).exists():
                return reads(first)
    known: dict[str, Details] = {}
    summaries = []
    for folder in folders:
        run = read(folder)
        summaries.append(run.summary())
        if pictured:
            known[summaries[-1].run] = details(run)
    document = run_report.document(summaries, known)
    return _Report(document, lambda: run_report.data(summaries), exit_code(summaries))


def _study(folder: Path) -> _Report:
    made, shown = Kept.read(folder).found()
    code = 0 if made.valid else EXIT_INVALID
    return _Report(study.document(made, shown), lambda: made, code, lambda: table(made))


def _experiment(folder: Path) -> _Report:
    made = of_experiment(folder)
    code = 0 if made.valid else EXIT_INVALID
    return _Report(comparison.document(made), lambda: comparison.data(made), code)


def _curve(folder: Path) -> _Report:
    made = _read(folder / CURVE, curve.Curve, curve.SCHEMA)
    runs = [folder / point.run for point in made.points]
    summaries = [summary_of(run) for run in runs if run.is_dir()]
    return _Report(capacity.of_curve(made, summaries), lambda: made, 0)


def _search(folder: Path) -> _Report:
    made = _read(folder / SEARCH, found.Found, found.SCHEMA)
    return _Report(capacity.of_search(made), lambda: made, 0)


def _read(file: Path, kind: type[T], newest: int) -> T:
    absent = ResultsError(f"there is no {file}")
    return read_versioned(file, kind, newest=newest, named=f"{file} has schema", absent=absent)


READS: dict[str, Callable[[Path], _Report]] = {
    STUDY: _study,
    EXPERIMENT: _experiment,
    CURVE: _curve,
    SEARCH: _search,
}
"""What makes the report of a folder that is no run, by the file that it has."""


def _picture(document: Document, name: str | None) -> Chart | Bars:
    """Return the picture of that name, or the only one."""
    known = document.pictures()
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        said = f"there is no picture {name!r}" if name else "say which picture"
        names = ", ".join(known) or "none"
        raise click.UsageError(f"--picture: {said}; known: {names}")
    return known[name]


def _draw(one: Chart | Bars, *, format: str, output: Path | None) -> None:
    """Write it for a slide."""
    chart = stacked(one) if isinstance(one, Bars) else one
    drawn = drawing.png(chart) if format == "png" else drawing.slide(chart).encode()
    if output is not None:
        output.write_bytes(drawn)
    elif format == "svg":
        click.echo(drawn.decode())
    elif sys.stdout.isatty():
        raise click.UsageError("a terminal shows no PNG: say --output FILE.png")
    else:
        sys.stdout.buffer.write(drawn)
