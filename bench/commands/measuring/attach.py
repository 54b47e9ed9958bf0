"""`bench attach`: a server that somebody else runs, loaded and explained as it is."""

from pathlib import Path
from typing import Any

import click

from bench.commands.model_input import input_options
from bench.commands.options import (
    loading_option,
    results_option,
    scenario_options,
    stage_option,
)
from bench.commands.show import exit_code
from bench.commands.target import (
    ATTACHED_TRANSPORTS,
    NOT_OF_ATTACHED,
    access_options,
    looked_at,
    target,
)
from bench.ledger.reading import summary_of
from bench.ledger.units import clean, count
from bench.record.scenario import Settings
from bench.report.document import terminal
from bench.report.document.text import text_table, wrap
from bench.report.document.written import FORMATS
from bench.report.run import render
from bench.runs.attached import server as servers
from bench.runs.attached.attach import Wish, attach
from pipelines.errors import ServerError
from pipelines.topologies.setting import DURATION, SERVER, table

MOST_LISTED = 40
_NOT_ASKED = (*NOT_OF_ATTACHED, "transport")
_IMAGES = {"help": f"{table(Settings)['images'].help}  [medium]"}


@click.command(params=[*scenario_options(without=_NOT_ASKED, images=_IMAGES), loading_option()])
@click.argument("url", type=SERVER)
@click.option("--model", "name", help="What to ask; without it the models are listed.")
@click.option(
    "--transport",
    type=click.Choice(ATTACHED_TRANSPORTS),
    help="HTTP with binary tensors, HTTP with JSON, or gRPC.  [by what it can]",
)
@input_options
@stage_option
@click.option("--duration", type=DURATION, default="20s", help="Of the load.")
@access_options
@results_option
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", help="On stdout.")
def command(
    url: str,
    name: str | None,
    transport: str | None,
    given: tuple[tuple[str, str], ...],
    duration: float,
    otlp_port: int | None,
    lines: tuple[str, ...],
    folder: Path,
    format: str,
    **said: Any,
) -> int:
    """Load a model of a server that speaks the Open Inference Protocol, and print where time goes.

    Triton, MLServer, KServe and others, at the address of its HTTP. Nothing is installed there, and
    the server is left as it was found. Without --model its models are listed.
    """
    server = looked_at(url, lines)
    if name is None:
        _list(server)
        return 0
    found = target(server, name, said, transport=transport)
    _, model, about, guessed, settings = found
    wish = Wish(settings, dict(given), duration, folder, otlp_port)
    run = attach(server, model, about, wish, notes=guessed)
    click.echo(f"results: {run}", err=True)
    summary = summary_of(run)
    terminal.show(render([summary], format=format), format=format)
    return exit_code([summary])


def _list(server: servers.Server) -> None:
    """Print the models, those that are ready with their inputs and outputs."""
    found = servers.names(server)
    ready = [name for name, is_ready in found if is_ready]
    rows = []
    for name in ready[:MOST_LISTED]:
        try:
            model = servers.model(server, name)
            sides = [", ".join(map(str, side)) for side in (model.inputs, model.outputs)]
            rows.append([name, model.platform, *sides])
        except ServerError as error:
            rows.append([name, "", str(error), ""])
    click.echo("\n".join(wrap(f"{clean(str(server))}: {count(len(ready), 'model')} ready")))
    if rows:
        click.echo(
            "\n".join(["", *text_table(["model", "platform", "inputs", "outputs"], rows, texts=4)])
        )
    left = len(ready) - len(rows), len(found) - len(ready)
    if any(left):
        click.echo(f"\nnot shown: {left[0]} more, and {left[1]} that are not ready")
    if ready:
        click.echo(f"\nnext: bench attach {server.url} --model {ready[0]} --images FOLDER")
