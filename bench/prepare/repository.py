"""The folders of the model repository that follow from the descriptions of the DNNs: their
configurations, what preprocesses for a DNN, the ensemble of both, and the chains.

They are written, not committed. A file is known as ours by its first line.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from bench.record.files import write_atomically
from pipelines import tasks
from pipelines.preprocess.choose import WAYS
from pipelines.servers.device import CPU, Device
from pipelines.tasks import Chain, Dnn, Task, served
from pipelines.tasks.description import FILE
from pipelines.tasks.tensors import TYPES, TensorSpec
from pipelines.topologies import choose
from pipelines.topologies.scenario import BROKERLESS, Setup

MARK = f"# Written by 'bench models' from {FILE} of the DNN: what is changed here is lost.\n"
DNN_MARK = f"# Written by 'bench models' from {FILE}: without this line it is left alone.\n"

Files = dict[str, str]
"""Path in a folder → content."""

_CONFIG = "config.pbtxt"
_SIZE = TensorSpec("size", np.int64, (2,))
_TRAIL = TensorSpec("trail", np.uint8, (-1,))
_CHAIN_OUTPUTS = (TensorSpec("readings", np.uint8, (-1,)), _TRAIL)
_TYPES = {TYPES[name]: f"TYPE_{name.upper()}" for name in TYPES}


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
    for dnn in tasks.dnns():
        config = repo / dnn.model / _CONFIG
        if not config.exists() or config.read_text().startswith(DNN_MARK):
            wanted[dnn.model] = _dnn(dnn)
    for folder, files in wanted.items():
        # Triton asks for a version folder even where there is nothing to put into it.
        (repo / folder / "1").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = repo / folder / name
            if not path.exists() or path.read_text() != text:
                write_atomically(path, text.encode())


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


def _dnn(dnn: Dnn) -> Files:
    """The configuration of a DNN in ONNX."""
    config = ModelConfig(name=dnn.model, max_batch_size=dnn.batch)
    _state(config.input, dnn, dnn.inputs)
    _state(config.output, dnn, dnn.outputs)
    threads = dict.fromkeys(("intra_op_thread_count", "inter_op_thread_count"), "1")
    return {_CONFIG: _text(config, mark=DNN_MARK, backend="onnxruntime", **threads)}


def _task(task: Task, way: str, *, place: str) -> dict[str, Files]:
    """The folder that preprocesses, and the ensemble; DALI takes no timestamps."""
    model = served.preprocessing(task.name, way, place=place)
    whole = served.ensemble(task.name, way, place=place)
    dnn, handed = task.dnn, served.handed(task.dnn)
    extras = [_SIZE] if way == "dali" else [_SIZE, _TRAIL]
    ensemble, preprocessing = _takes_jpeg(whole, dnn), _takes_jpeg(model, dnn)
    ensemble.platform = "ensemble"
    for name, taken, given in (
        (model, {"jpeg": "jpeg"}, [*handed.values(), *(each.name for each in extras)]),
        (dnn.model, handed, [each.name for each in dnn.outputs]),
    ):
        step = ensemble.ensemble_scheduling.step.add(model_name=name, model_version=-1)
        step.input_map.update(taken)
        step.output_map.update({each: each for each in given})
    _state(ensemble.output, dnn, [*dnn.outputs, *extras])
    first, *constants = dnn.inputs
    _state(preprocessing.output, dnn, [first], called=handed)
    _state(preprocessing.output, dnn, extras)
    _state(preprocessing.output, dnn, constants, called=handed)
    if way == "dali":
        files = {_CONFIG: _text(preprocessing, backend="dali", num_threads="1")}
    else:
        files = _python(preprocessing, "preprocess", task=task.name, way=way)
    return {model: files, whole: {_CONFIG: _text(ensemble)}}


def _takes_jpeg(name: str, dnn: Dnn) -> Any:
    """The configuration, without outputs, of what takes encoded images for a DNN."""
    config = ModelConfig(name=name, max_batch_size=dnn.batch)
    ragged = dnn.batch > 0 and name.startswith("preprocess_")
    dims = [-1] if dnn.batch else [1, -1]
    config.input.add(name="jpeg", data_type="TYPE_UINT8", dims=dims, allow_ragged_batch=ragged)
    return config


def _state(
    field: Any, dnn: Dnn, tensors: Iterable[TensorSpec], *, called: dict[str, str] | None = None
) -> None:
    """Add the tensors; without batches their shapes say that they are of one image."""
    for each in tensors:
        alone = dnn.batch or each.name in dnn.unbatched
        dims = each.shape if alone else (1, *each.shape)
        name = called[each.name] if called else each.name
        field.add(name=name, data_type=_TYPES[each.dtype], dims=dims)


def _chain(chain: Chain, way: str) -> Files:
    config = ModelConfig(name=f"{chain.name}_{way}", max_batch_size=0)
    config.input.add(name="jpeg", data_type="TYPE_UINT8", dims=[-1])
    for each in _CHAIN_OUTPUTS:
        config.output.add(name=each.name, data_type=_TYPES[each.dtype], dims=each.shape)
    return _python(config, "chain", chain=chain.name, way=way)


def _python(config: Any, module: str, **parameters: str) -> Files:
    """The files of a model that is Python, a module of pipelines/triton_models."""
    imported = f"from pipelines.triton_models.{module} import TritonPythonModel"
    return {
        _CONFIG: _text(config, backend="python", **parameters),
        "1/model.py": f'{MARK}\n{imported}\n\n__all__ = ["TritonPythonModel"]\n',
    }


def _text(config: Any, *, mark: str = MARK, backend: str = "", **parameters: str) -> str:
    config.backend = backend
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return mark + str(text_format.MessageToString(config))


def models_of(pipelines: Sequence[str], *, on: Device = CPU) -> list[str]:
    """Return every model that runs of the pipelines on the server may ask for."""
    setups = [
        Setup(pipeline=name, preprocess=way, place=place, topology=topology)
        for name in pipelines
        for way, place in _ways(on)
        for topology in (BROKERLESS if tasks.is_chain(name) else (None,))
    ]
    return sorted({model for setup in setups for model in choose.models(setup)})
