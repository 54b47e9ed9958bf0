"""`bench baseline`: runs that are kept in the repository, to compare later ones with."""

from pathlib import Path

import click

from bench.commands.show import exit_code
from bench.compare.baseline import keep, kept
from bench.ledger.reading import summary_of
from bench.report.document import terminal
from bench.report.run import render
from pipelines.errors import VisiontaxError

FOLDER = Path("results/baseline")


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
    terminal.show(render(summaries, format=format), format=format)
    return exit_code(summaries)
