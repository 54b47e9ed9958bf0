"""`bench add`: a user's own model, from its file to a pipeline that every command knows."""

from pathlib import Path
from typing import Any

import click

from bench.commands.model_input import OPTION, asked_of, input_options
from bench.prepare.own import add
from bench.prepare.own.check import check
from bench.prepare.own.guess import OFFERED
from bench.prepare.own.onnx_file import OnnxFile
from pipelines import paths, tasks
from pipelines.errors import ServerError
from pipelines.servers import triton

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("name")
@click.option("--onnx", "file", type=FILE, help="The model, in ONNX.")
@click.option("--triton-model", "folder", type=FOLDER, help="Or a Triton model, of any backend.")
@click.option(
    "--task", "kind", type=click.Choice(OFFERED), help="What its outputs mean.  [guessed]"
)
@input_options
@click.option(
    "--batch", type=click.IntRange(0, 1024), help="Most images at once; 0: one.  [guessed]"
)
@click.option("--answer", type=OPTION, multiple=True, help="An option of the task's answer.")
def command(
    name: str,
    file: Path | None,
    folder: Path | None,
    kind: str | None,
    batch: int | None,
    **given: Any,
) -> None:
    """Add a model of your own: afterwards NAME is a pipeline in every command.

    Says what it guessed; what cannot be guessed it asks for by the name of the option. Then the
    embedded Triton answers an image in each way to preprocess, as onnxruntime itself does, or the
    model is not added.
    """
    if (file is None) == (folder is None):
        raise click.UsageError("give the model: --onnx FILE, or --triton-model DIR")
    add.check_name(name)
    asked = asked_of(given)
    model: OnnxFile | None = None
    if file:
        model, about, guessed = add.describe_onnx(name, file, asked, kind=kind, batch=batch)
    else:
        assert folder
        about, guessed = add.describe_triton(name, folder, asked, kind=kind)
    for each in guessed:
        click.echo(f"guessed: {each}")
    if model:
        add.install_onnx(model, about, guessed)
    elif folder:
        add.install_triton(folder, about, guessed)
    try:
        _check(name, model)
    except BaseException:
        add.remove(name)
        raise
    click.echo(
        f"added {name}: {paths.REPOSITORY / name / 'task.toml'} says all that is known of it"
    )
    click.echo(f"next: bench run {name} --images FOLDER")


def _check(name: str, model: OnnxFile | None) -> None:
    try:
        triton.installation()
    except ServerError as error:
        click.echo(f"warning: not tried: {error}", err=True)
        return
    click.echo("trying it in the embedded Triton ...", err=True)
    like = "as onnxruntime does" if model else "as from a ready tensor"
    for way in check(tasks.task(name), model):
        click.echo(f"checked: with {way} Triton answers an image {like}")
