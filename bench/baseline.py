"""`bench baseline`: runs that are kept in the repository, to compare later ones with."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from bench.report import render
from bench.reports import exit_code, summary_of
from bench.results import MANIFEST
from pipelines.errors import VisiontaxError

FOLDER = Path("results/baseline")


def kept(folder: Path) -> list[Path]:
    """Return the baseline's runs in their order of time, none where there is no baseline."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def keep(runs: list[Path], folder: Path) -> None:
    """Make copies of the runs the baseline, all of them or, after an error, none.

    Raises ResultsError when one is no run, VisiontaxError when its measurement is INVALID.
    """
    for run in runs:
        summary = summary_of(run)
        if not summary.valid:
            raise VisiontaxError(
                f"{run} is INVALID: {', '.join(issue.code for issue in summary.issues)}",
                hint="'bench report' says what to mend; a baseline needs runs to be trusted",
            )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for run in runs:
            shutil.copytree(run, Path(temporary) / run.resolve().name)
        for old in kept(folder):
            shutil.rmtree(old)
        for new in Path(temporary).iterdir():
            new.rename(folder / new.name)


@click.group()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    help="Where the baseline is.",
)
@click.pass_context
def command(context: click.Context, folder: Path) -> None:
    """Keep runs in the repository to compare later ones with."""
    context.obj = folder


@command.command("set")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.pass_obj
def set_(folder: Path, runs: tuple[Path, ...]) -> None:
    """Make these runs the baseline, in the place of those that were."""
    keep(list(runs), folder)
    for run in kept(folder):
        click.echo(f"kept {run}")


@command.command()
@click.option("--format", type=click.Choice(["text", "json", "md"]), default="text")
@click.pass_obj
def show(folder: Path, format: str) -> int:
    """Print the report of the baseline's runs, the machine included."""
    runs = kept(folder)
    if not runs:
        raise VisiontaxError(
            f"there is no baseline in {folder}", hint="make one: bench baseline set results/RUN"
        )
    summaries = [summary_of(run) for run in runs]
    if format == "text":
        click.echo(f"measured on {', '.join(sorted({one.machine for one in summaries}))}\n")
    click.echo(render(summaries, format=format))
    return exit_code(summaries)
