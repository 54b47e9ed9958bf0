"""The folders of the model repository that follow from the table of tasks: what preprocesses for a
DNN, the ensemble of both, and the chains.

They are written, not committed. A folder is known as ours by the first line of its configuration.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pipelines import tasks
from pipelines.preprocess.choose import WAYS
from pipelines.servers.device import CPU, Device
from pipelines.tasks import Chain, Task, served
from pipelines.tasks.tensors import TensorSpec
from pipelines.topologies import choose
from pipelines.topologies.scenario import BROKERLESS, Setup

MARK = "# Written by 'bench models' from pipelines/tasks: what is changed here is lost.\n"

Files = dict[str, str]
"""Path in a folder → content."""

_CONFIG, _MODEL = "config.pbtxt", "1/model.py"
_BATCH = 8
_SIZE = TensorSpec("size", np.int64, (2,))
_TRAIL = TensorSpec("trail", np.uint8, (-1,))
_CHAIN_OUTPUTS = (TensorSpec("readings", np.uint8, (-1,)), _TRAIL)
_TYPES = {np.float32: "TYPE_FP32", np.int64: "TYPE_INT64", np.uint8: "TYPE_UINT8"}


def write(repo: Path, *, device: Device = CPU) -> None:
    """Write each file that is not there as it should be, of a GPU only where that is the device.

    A folder of ours that the table no longer asks for is removed.
    """
    wanted = folders(device)
    known = folders(Device("gpu"))
    for config in sorted(repo.glob(f"*/{_CONFIG}")):
        if config.parent.name not in known and config.read_text().startswith(MARK):
            click.echo(f"removing {config.parent}, which nothing asks for any more", err=True)
            shutil.rmtree(config.parent)
    for folder, files in wanted.items():
        # Triton asks for a version folder even where there is nothing to put into it.
        (repo / folder / "1").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = repo / folder / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)


def folders(device: Device = CPU) -> dict[str, Files]:
    """Return the files of every folder; with a GPU also those that preprocess there."""
    made = {f"{chain.name}_{way}": _chain(chain, way) for way in WAYS for chain in tasks.chains()}
    for way, place in _ways(device):
        for task in tasks.tasks():
            made |= _task(task, way, place=place)
    return made


def _ways(device: Device) -> list[tuple[str, str]]:
    """Each way to preprocess on the server, and the place; with a GPU also DALI's there."""
    return [*((way, "server") for way in WAYS), *[("dali", "server-gpu")] * (device.kind == "gpu")]


def _task(task: Task, way: str, *, place: str) -> dict[str, Files]:
    """The folder that preprocesses, and the ensemble."""
    model = served.preprocessing(task.name, way, place=place)
    whole = served.ensemble(task.name, way, place=place)
    return {
        model: _preprocessing(model, task, way),
        whole: _ensemble(whole, task, way, preprocessing=model),
    }


def _preprocessing(model: str, task: Task, way: str) -> Files:
    size = (3, task.dnn.input.height, task.dnn.input.width)
    outputs = [TensorSpec("tensor", np.float32, size), *_extras(way)]
    config = _config(model, outputs, batch=_BATCH)
    config.input[0].allow_ragged_batch = True
    if way == "dali":
        return {_CONFIG: _text(config, backend="dali", num_threads="1")}
    return {
        _CONFIG: _text(config, backend="python", task=task.name, way=way),
        _MODEL: _served_by("pipelines.triton_models.preprocess"),
    }


def _ensemble(name: str, task: Task, way: str, *, preprocessing: str) -> Files:
    extras = _extras(way)
    config = _config(name, [*task.dnn.outputs, *extras], batch=_BATCH)
    config.platform = "ensemble"
    steps = config.ensemble_scheduling.step
    steps.add(
        model_name=preprocessing,
        model_version=-1,
        input_map={"jpeg": "jpeg"},
        output_map={name: name for name in ("tensor", *(each.name for each in extras))},
    )
    steps.add(
        model_name=task.dnn.model,
        model_version=-1,
        input_map={"input": "tensor"},
        output_map={each.name: each.name for each in task.dnn.outputs},
    )
    return {_CONFIG: _text(config)}


def _chain(chain: Chain, way: str) -> Files:
    config = _config(f"{chain.name}_{way}", _CHAIN_OUTPUTS, batch=0)
    return {
        _CONFIG: _text(config, backend="python", chain=chain.name, way=way),
        _MODEL: _served_by("pipelines.triton_models.chain"),
    }


def _extras(way: str) -> list[TensorSpec]:
    """What comes out of preprocessing beside the tensor; DALI takes no timestamps."""
    return [_SIZE] if way == "dali" else [_SIZE, _TRAIL]


def _served_by(module: str) -> str:
    return f'{MARK}\nfrom {module} import TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'


def _config(name: str, outputs: Iterable[TensorSpec], *, batch: int) -> Any:
    config = ModelConfig(name=name, max_batch_size=batch)
    config.input.add(name="jpeg", data_type="TYPE_UINT8", dims=[-1])
    for each in outputs:
        config.output.add(name=each.name, data_type=_TYPES[each.dtype], dims=each.shape)
    return config


def _text(config: Any, *, backend: str = "", **parameters: str) -> str:
    config.backend = backend
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return MARK + str(text_format.MessageToString(config))


def models_of(pipelines: Sequence[str], *, on: Device = CPU) -> list[str]:
    """Return every model that runs of the pipelines on the server may ask for."""
    setups = [
        Setup(pipeline=name, preprocess=way, place=place, topology=topology)
        for name in pipelines
        for way, place in _ways(on)
        for topology in (BROKERLESS if tasks.is_chain(name) else (None,))
    ]
    return sorted({model for setup in setups for model in choose.models(setup)})
