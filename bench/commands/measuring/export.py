"""`bench export`: stored runs as the files of other tools."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from bench.commands.show import EXIT_INVALID
from bench.ledger.grid.kept import STUDY, Kept
from bench.ledger.units import count
from bench.record.files import as_json, writing
from bench.record.manifest import read_manifest
from bench.report.exports import locust_csv, rows, tracking
from pipelines.errors import ResultsError, VisiontaxError

OTLP, CSV, PARQUET, LOCUST = "otlp", "csv", "parquet", "locust-csv"
TRACKED: dict[str, Callable[[Sequence[tracking.Benchmark]], Any]] = {
    "bencher": tracking.bencher,
    "github-action-benchmark": tracking.github_action_benchmark,
}
FORMATS = (OTLP, PARQUET, CSV, *TRACKED, LOCUST)
NO_STDOUT = {PARQUET: "FILE", LOCUST: "PREFIX: the files are PREFIX_stats.csv and its like"}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write this file; of locust-csv what the names of its files begin with.",
)
@click.option("--endpoint", metavar="URL", help="Of otlp: the collector to send to.")
def command(runs: tuple[Path, ...], to: str, output: Path | None, endpoint: str | None) -> int:
    """Write stored runs, or a study's, in the format of another tool."""
    if endpoint and (to != OTLP or output):
        wrong = "--output says where to write: give one" if output else f"{to} is a file"
        raise click.UsageError(f"--endpoint is a collector of otlp, and {wrong}")
    if to in NO_STDOUT and output is None:
        raise click.UsageError(f"--to {to} needs --output {NO_STDOUT[to]}")
    if to in TRACKED:
        return _track(runs, to=to, output=output)
    folders = _folders(runs)
    if to == LOCUST:
        assert output is not None
        if len(folders) > 1:
            raise click.UsageError(f"--to {to} is of one run: its files have no place for others")
        for path in locust_csv.write(folders[0], output):
            click.echo(path, err=True)
    elif endpoint:
        click.echo(f"{endpoint}: {count(_otlp().send(folders, endpoint), 'request')}", err=True)
    else:
        write = _writer(to)
        with _opened(output) as file:
            write(folders, file)
    return 0


def _writer(to: str) -> Callable[[Sequence[Path], BinaryIO], None]:
    if to == OTLP:
        return _otlp().write  # type: ignore[no-any-return]
    return rows.write_csv if to == CSV else rows.write_parquet


def _track(runs: Sequence[Path], *, to: str, output: Path | None) -> int:
    found = tracking.benchmarks(runs)
    with _opened(output) as file:
        file.write(as_json(TRACKED[to](found)) + b"\n")
    invalid = [one.name for one in found if not one.valid]
    for name in invalid:
        click.echo(f"INVALID: {name}: 'bench report' says why", err=True)
    return EXIT_INVALID if invalid else 0


def _folders(given: Sequence[Path]) -> list[Path]:
    """The folders of runs, for a study those of its runs. Raises ResultsError as its name clashes
    with another's, and where there is none.
    """
    found = [
        run
        for folder in given
        for run in (Kept.read(folder).runs if (folder / STUDY).exists() else [folder])
    ]
    if not found:
        raise ResultsError(f"{given[0]} has no run", hint="bench study --resume makes them")
    names = [read_manifest(folder).run for folder in found]
    for folder, name in zip(found, names, strict=True):
        if names.count(name) > 1:
            raise ResultsError(
                f"{folder} is given twice, or has the name of another run",
                hint="give each run once",
            )
    return found


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    with writing(output) as file:
        yield file
    click.echo(output, err=True)


def _otlp() -> Any:
    try:
        return importlib.import_module("bench.report.exports.otlp")
    except ImportError as error:
        raise VisiontaxError(
            f"otlp needs OpenTelemetry's SDK: {error}",
            hint="pip install 'visiontax[otlp]'",
        ) from error
