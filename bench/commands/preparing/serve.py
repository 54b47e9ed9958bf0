"""`bench serve`: the embedded Triton, from ready until Ctrl-C, started again once if it crashes."""

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.commands.options import sizes_options
from bench.prepare.repository import models_of
from bench.record.files import as_json, write_atomically
from bench.record.scenario import Settings, weights_of
from bench.runs.equipment import SERVICES, brokers
from bench.runs.experiments.protocol import SERVING
from pipelines import paths, processes
from pipelines.errors import ServerError
from pipelines.servers import triton
from pipelines.servers.sizing import sizes_of
from pipelines.topologies.setting import table

DEFAULT = ("classification",)
PIPELINE = table(Settings)["pipeline"].type

AGAIN = "again"
"""In the folder of its log, that of the Triton which was started again."""

_PRINTED = {"http": "http://{}", "metrics": "http://{}/metrics"}


@click.command()
@click.argument("pipelines", nargs=-1, type=PIPELINE, metavar="[PIPELINE]...")
@click.option(
    "--with",
    "services",
    multiple=True,
    type=click.Choice(list(SERVICES)),
    help="A message broker to start beside Triton; may be given several times.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65533),
    help="Of HTTP; gRPC and metrics use the next two.  [free ports]",
)
@click.option(
    "--listen",
    default=processes.HOST,
    metavar="ADDRESS",
    help="Who may ask Triton: this host alone, or with 0.0.0.0 whoever reaches it.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=paths.REPOSITORY,
    help="The model repository.  [triton_repo]",
)
@click.option(
    "--addresses",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file for what is printed, as JSON.",
)
@sizes_options
def command(
    pipelines: tuple[str, ...],
    services: tuple[str, ...],
    port: int | None,
    listen: str,
    repository: Path,
    addresses: Path | None,
    **asked: Any,
) -> None:
    """Start the embedded Triton, print its addresses, and stop it on Ctrl-C.

    It serves the models of every PIPELINE, or mix of such (by default classification, of another
    --repository all) from the start, and any other once a run asks for it. Once it has ended by
    itself it is started again, at the same addresses.
    """
    sizes = sizes_of(**asked)
    folder = paths.BUILD / "serve" / str(os.getpid())
    click.echo("starting Triton ...", err=True)
    ours = pipelines or repository == paths.REPOSITORY
    names = [name for each in pipelines or DEFAULT for name in weights_of(each)]
    models = models_of(names, on=sizes.device) if ours else ["*"]
    start = partial(triton.start, repository=repository, listen=listen, sizes=sizes, models=models)
    with contextlib.ExitStack() as beside:
        urls: dict[str, str] = {}
        for attempt in ("", AGAIN):
            with start(folder / attempt, port=port) as running:
                urls = urls or beside.enter_context(brokers(services))
                running.wait_ready()
                port = running.port
                _tell(running, urls, folder / attempt / triton.LOG, into=addresses)
                try:
                    running.process.wait()
                except KeyboardInterrupt:
                    click.echo("stopping ...", err=True)
                    return
                said = f"Triton ended by itself with {running.ending}"
            if not attempt:
                click.echo(f"warning: {said}; it is started again", err=True)
    raise ServerError(f"{said}, for the second time", hint=f"see {folder / AGAIN / triton.LOG}")


def _tell(running: triton.Server, urls: dict[str, str], log: Path, *, into: Path | None) -> None:
    """Print where everything is, and write it as JSON where that is wanted."""
    where = {
        "http": running.url,
        "grpc": f"{processes.HOST}:{running.port + 1}",
        "metrics": f"{processes.HOST}:{running.port + 2}",
        **urls,
    }
    for name, url in where.items():
        click.echo(f"{name:7}  {_PRINTED.get(name, '{}').format(url)}")
    click.echo(f"log      {log}")
    if into:
        write_atomically(into, as_json(where) + b"\n")
    click.echo(SERVING, err=True)
