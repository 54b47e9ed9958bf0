"""`bench ingest`: production traffic that visiontax did not make, as runs and their report."""

from pathlib import Path

import click

from bench.commands.options import results_option, stage_option
from bench.commands.show import exit_code
from bench.ledger import models
from bench.ledger.reading import summary_of
from bench.record.foreign import ingested, otlp, statistics, traffic
from bench.report import models as model_report
from bench.report import run as run_report
from bench.report.document import terminal, written
from pipelines.errors import ResultsError


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@stage_option
@results_option
@click.option("--format", type=click.Choice(written.FORMATS), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write there instead of to the terminal."
)
def command(
    files: tuple[Path, ...],
    given: tuple[tuple[str, str], ...],
    folder: Path,
    format: str,
    output: Path | None,
) -> int:
    """Report what a Triton recorded while others asked it.

    FILES are its traces, or two dumps of its statistics, the older one first, or OpenTelemetry's
    lines of JSON. Which they are is seen by their content.
    """
    kind = _kind(files)
    code = 0
    if kind == traffic.STATISTICS:
        text = _means(files, dict(given), format=format)
    else:
        text, code = _runs(files, dict(given), kind=kind, results=folder, format=format)
    if output is None:
        terminal.show(text, format=format)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    return code


def _kind(files: tuple[Path, ...]) -> str:
    """The one kind that all files are of. Raises ResultsError when they are of several."""
    kinds = {path: traffic.kind_of(path) for path in files}
    if len({path.resolve() for path in files}) < len(files):
        raise ResultsError("the same file is given twice", hint="give each file once")
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{path} is {kind}" for path, kind in kinds.items())
        raise ResultsError(f"these are not of one kind: {told}", hint="ingest each kind by itself")
    return next(iter(kinds.values()))


def _runs(
    files: tuple[Path, ...], given: dict[str, str], *, kind: str, results: Path, format: str
) -> tuple[str, int]:
    read = traffic.of_trace if kind == traffic.TRACE else otlp.read
    folders = ingested.write_runs(
        read(files), kind=kind, files=list(files), given=given, results=results
    )
    for one in folders:
        click.echo(f"results: {one}", err=True)
    summaries = [summary_of(one) for one in folders]
    return run_report.render(summaries, format=format), exit_code(summaries)


def _means(files: tuple[Path, ...], given: dict[str, str], *, format: str) -> str:
    if len(files) != 2:
        raise ResultsError(
            f"statistics are counters: {len(files)} dumps are given, and two are needed",
            hint="give the dump from before the traffic, and the one from after it",
        )
    asked = models.difference(*map(statistics.read, files))
    stages, guessed = ingested.stages_of(dict.fromkeys(asked, False), given)
    table = models.table(asked, stages=stages, notes=list(guessed.values()))
    return written.written(model_report.document(table), format=format, data=lambda: table)
