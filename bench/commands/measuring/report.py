"""`bench report`: from the folders of stored runs to what is printed."""

from pathlib import Path

import click

from bench.commands.show import exit_code
from bench.ledger.reading import summary_of
from bench.report import terminal
from bench.report.run import FORMATS, render


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write there instead of to the terminal."
)
def command(runs: tuple[Path, ...], format: str, output: Path | None) -> int:
    """Print the report of one or more folders of results."""
    summaries = [summary_of(run) for run in runs]
    text = render(summaries, format=format)
    if output is None:
        terminal.show(text, format=format)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    return exit_code(summaries)
