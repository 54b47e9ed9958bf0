"""`bench serve`: the embedded Triton, from ready until Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from pipelines import server
from pipelines.errors import ServerError


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65533),
    help="Of HTTP; gRPC and metrics use the next two.  [free ports]",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=server.REPOSITORY,
    help="The model repository.  [triton_repo]",
)
@click.option("--preprocess-instances", type=click.IntRange(1), help="[one per core]")
@click.option("--inference-instances", type=click.IntRange(1), help="[one per core]")
def command(
    port: int | None,
    repository: Path,
    preprocess_instances: int | None,
    inference_instances: int | None,
) -> None:
    """Start the embedded Triton, print its addresses, and stop it on Ctrl-C."""
    default = server.default_sizes()
    sizes = server.Sizes(
        preprocess=preprocess_instances or default.preprocess,
        inference=inference_instances or default.inference,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    folder = server.BUILD / "serve" / str(os.getpid())
    click.echo("starting Triton ...", err=True)
    with server.start(folder, repository=repository, port=port, sizes=sizes) as running:
        running.wait_ready()
        click.echo(f"http     http://{running.url}")
        click.echo(f"grpc     {server.HOST}:{running.port + 1}")
        click.echo(f"metrics  http://{server.HOST}:{running.port + 2}/metrics")
        click.echo(f"log      {folder / 'triton.log'}")
        click.echo("ready; stop with Ctrl-C", err=True)
        try:
            code = running.process.wait()
        except KeyboardInterrupt:
            click.echo("stopping ...", err=True)
            return
    raise ServerError(f"Triton ended by itself with code {code}", hint=f"see {folder}/triton.log")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
