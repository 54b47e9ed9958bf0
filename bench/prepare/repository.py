"""The folders of the model repository that follow from the table of tasks: what preprocesses for a
DNN, the ensemble of both, and the chains.

They are written, not committed. A folder is known as ours by the first line of its configuration.
"""

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

_CONFIG = "config.pbtxt"
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
    """The folder that preprocesses, and the ensemble; DALI takes no timestamps."""
    model = served.preprocessing(task.name, way, place=place)
    whole = served.ensemble(task.name, way, place=place)
    tensor = TensorSpec("tensor", np.float32, (3, task.dnn.input.height, task.dnn.input.width))
    extras = [_SIZE] if way == "dali" else [_SIZE, _TRAIL]
    ensemble = _config(whole, [*task.dnn.outputs, *extras], batch=_BATCH)
    ensemble.platform = "ensemble"
    for name, taken, given in (
        (model, {"jpeg": "jpeg"}, [tensor, *extras]),
        (task.dnn.model, {"input": "tensor"}, task.dnn.outputs),
    ):
        step = ensemble.ensemble_scheduling.step.add(model_name=name, model_version=-1)
        step.input_map.update(taken)
        step.output_map.update({each.name: each.name for each in given})
    preprocessing = _config(model, [tensor, *extras], batch=_BATCH)
    preprocessing.input[0].allow_ragged_batch = True
    if way == "dali":
        files = {_CONFIG: _text(preprocessing, backend="dali", num_threads="1")}
    else:
        files = _python(preprocessing, "preprocess", task=task.name, way=way)
    return {model: files, whole: {_CONFIG: _text(ensemble)}}


def _chain(chain: Chain, way: str) -> Files:
    config = _config(f"{chain.name}_{way}", _CHAIN_OUTPUTS, batch=0)
    return _python(config, "chain", chain=chain.name, way=way)


def _python(config: Any, module: str, **parameters: str) -> Files:
    """The files of a model that is Python, a module of pipelines/triton_models."""
    imported = f"from pipelines.triton_models.{module} import TritonPythonModel"
    return {
        _CONFIG: _text(config, backend="python", **parameters),
        "1/model.py": f'{MARK}\n{imported}\n\n__all__ = ["TritonPythonModel"]\n',
    }


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
