"""`bench trace`: a few requests of a stored run, to look at closely."""

from pathlib import Path

import click

from bench.ledger.reading import closely, read
from bench.ledger.units import count
from bench.report.exports import perfetto

SLOWEST, AT_MOST = 20, 10_000
FILE = "requests.pftrace"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--slowest",
    type=click.IntRange(1, AT_MOST),
    help=f"So many of the measured requests, the slowest first.  [default: {SLOWEST}]",
)
@click.option("--request", "ids", multiple=True, metavar="ID", help="This one; several times.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Write this file.  [default: {FILE} in the run's folder]",
)
def command(run: Path, slowest: int | None, ids: tuple[str, ...], output: Path | None) -> None:
    """Write where the time of a few requests went, span by span, for ui.perfetto.dev."""
    if ids and slowest:
        raise click.UsageError("--slowest chooses requests, and so does --request: give one")
    chosen = closely(run, slowest=slowest or SLOWEST, ids=ids)
    file = output or run / FILE
    perfetto.write(file, read(run), chosen)
    click.echo(
        f"{file}: {count(len(chosen), 'request')}; open it at ui.perfetto.dev, which reads it in "
        "the browser and sends it nowhere"
    )
