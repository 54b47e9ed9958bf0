"""`bench models`: fills the model repository."""

from pathlib import Path
from typing import Any

import click

from bench.commands.options import sizes_options
from bench.prepare.models import build_models
from pipelines.paths import REPOSITORY
from pipelines.servers.sizing import size, sizes_of


@click.command("models")
@click.option(
    "--repo",
    type=click.Path(path_type=Path, file_okay=False),
    default=REPOSITORY,
    show_default="triton_repo",
    help="The model repository to fill.",
)
@sizes_options
def command(repo: Path, **asked: Any) -> None:
    """Build the models of the repository from pinned weights, and say where they are to run."""
    sizes = sizes_of(**asked)
    for file in build_models(repo, on=sizes.device):
        state = "kept " if file.reused else "built"
        click.echo(f"{state} {file.path} sha256 {file.sha256}")
    size(repo, sizes, plans=True)
