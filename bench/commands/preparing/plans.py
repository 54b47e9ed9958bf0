"""`bench plans`: a TensorRT plan of each DNN."""

from pathlib import Path

import click

from bench.prepare.tensorrt import build_plans
from pipelines.paths import REPOSITORY


@click.command("plans")
@click.option(
    "--repo",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(REPOSITORY.name),
    help="The model repository.",
)
@click.option("--fp16", is_flag=True, help="Allow half precision (TensorRT 10 and older).")
def command(repo: Path, *, fp16: bool) -> None:
    """Build a TensorRT plan of each DNN; 'bench models --device gpu' then has it served."""
    for plan in build_plans(repo, options=["--fp16"] if fp16 else []):
        click.echo(f"built {plan}")
