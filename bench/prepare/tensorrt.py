"""`bench plans`: each DNN as TensorRT runs it, made by NVIDIA's own `trtexec`.

A plan fits the GPU and the TensorRT that it was made with, so it is made where it is served.
"""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from pipelines.errors import ServerError, VisiontaxError
from pipelines.processes import run
from pipelines.servers.sizing import PLAN

_IN_NVIDIAS_IMAGE = Path("/usr/src/tensorrt/bin/trtexec")


def trtexec() -> str | None:
    """Return where the program is: on PATH, or where NVIDIA's image has it. None without it."""
    found = shutil.which("trtexec")
    if found is None and os.access(_IN_NVIDIAS_IMAGE, os.X_OK):
        return str(_IN_NVIDIAS_IMAGE)
    return found


def build_plans(repo: Path, *, options: Sequence[str] = ()) -> Iterator[Path]:
    """Make the plan of each DNN beside its model.onnx, and yield its path when it is there.

    `options` go to trtexec. Raises ServerError when that is missing or fails, VisiontaxError when a
    DNN cannot be asked for.
    """
    program = trtexec()
    if program is None:
        raise ServerError(
            "there is no trtexec on this machine: it comes with TensorRT",
            hint="in NVIDIA's container: docker compose run --rm plans",
        )
    models = sorted(repo.glob("*/1/model.onnx"))
    if not models:
        raise VisiontaxError(f"there is no DNN in {repo}", hint="run 'bench models'")
    for number, model in enumerate(models, start=1):
        folder, plan = model.parent.parent, model.with_name(PLAN)
        click.echo(f"[{number}/{len(models)}] {plan} ...", err=True)
        partial = plan.with_name(f"{PLAN}.part")
        shapes = _shapes(_config(folder / "config.pbtxt"))
        command = [program, f"--onnx={model}", f"--saveEngine={partial}", "--skipInference"]
        try:
            _run([*command, *shapes, *options], model=folder.name)
            partial.replace(plan)
        finally:
            partial.unlink(missing_ok=True)
        yield plan


def _config(path: Path) -> Any:
    # Imported here so that looking for trtexec needs none of gRPC's packages.
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    try:
        return text_format.Parse(path.read_text(), ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise VisiontaxError(f"cannot read {path}: {error}", hint="run 'bench models'") from error


def _shapes(config: Any) -> list[str]:
    """The options that say how large batches get; a DNN that takes none has its shapes itself."""
    most = config.max_batch_size
    if not most:
        return []
    if any(side < 1 for each in config.input for side in each.dims):
        raise VisiontaxError(
            f"the inputs of {config.name} have no fixed size",
            hint="write their dims into config.pbtxt",
        )
    named = [(each.name, "x".join(map(str, each.dims))) for each in config.input]
    return [
        f"--{which}Shapes={','.join(f'{name}:{count}x{dims}' for name, dims in named)}"
        for which, count in (("min", 1), ("opt", most), ("max", most))
    ]


def _run(command: Sequence[str], *, model: str) -> None:
    done = run(command)
    if done.returncode == 0:
        return
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if "[E]" in line] or lines[-1:] or ["it said nothing"]
    hint = f"see it all: {shlex.join(command)}"
    if "--fp16" in command:
        hint = f"TensorRT 11 knows no --fp16: leave it out, or {hint}"
    raise ServerError(f"trtexec makes no plan of {model}: {telling[0][:300]}", hint=hint)
