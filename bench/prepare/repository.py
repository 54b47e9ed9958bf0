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
from pipelines.tasks.tensors import NORMALIZES, TYPES, TensorSpec
from pipelines.topologies import choose
from pipelines.topologies.names import BROKERLESS
from pipelines.topologies.scenario import Setup

MARK = f"# Written by 'bench models' from {FILE} of the DNN: what is changed here is lost.\n"
DNN_MARK = f"# Written by 'bench models' from {FILE}: without this line it is left alone.\n"

Files = dict[str, str]
"""Path in a folder → content."""

_CONFIG = "config.pbtxt"
_SIZE = TensorSpec("size", np.int64, (2,))
_TRAIL = TensorSpec("trail", np.uint8, (-1,))
_ANSWER = TensorSpec("answer", np.uint8, (-1,))
_THREADS = dict.fromkeys(("intra_op_thread_count", "inter_op_thread_count"), "1")
_CHAIN_OUTPUTS = (TensorSpec("readings", np.uint8, (-1,)), _TRAIL)
_TYPES = {TYPES[name]: f"TYPE_{name.upper()}" for name in TYPES}


def write(repo: Path, *, device: Device = CPU) -> None:
    """Write each file that is not there as it should be, of a GPU only where that is the device.

    A folder of ours that the table no longer asks for is removed.
    """
    wanted = folders(repo, device)
    known = folders(repo, Device("gpu"))
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


def folders(repo: Path, device: Device = CPU) -> dict[str, Files]:
    """Return the files of every folder; with a GPU also those that preprocess there."""
    made = {f"{chain.name}_{way}": _chain(chain, way) for way in WAYS for chain in tasks.chains()}
    for task in tasks.tasks():
        onnx, whose = _is_onnx(repo, task.dnn), normalizing(repo, task.dnn)
        for way, place in _ways(device):
            for who in whose:
                made |= _task(task, way, place=place, who=who)
                if onnx and place == "server" and not task.dnn.input.encoded:
                    made |= _fused(task, way, who=who)
        if len(whose) > 1:
            made[task.dnn.of_pixels().model] = _dnn(task.dnn.of_pixels(), mark=MARK)
    return made


def normalizing(repo: Path, dnn: Dnn) -> tuple[str, ...]:
    """Return who can normalize for the DNN: of NORMALIZES the second only one in ONNX."""
    return NORMALIZES if dnn.input.normalized and _is_onnx(repo, dnn) else NORMALIZES[:1]


def _is_onnx(repo: Path, dnn: Dnn) -> bool:
    """Whether onnxruntime runs the DNN, as it does unless its configuration says something else."""
    config = repo / dnn.model / _CONFIG
    return not config.exists() or 'backend: "onnxruntime"' in config.read_text()


def _ways(device: Device) -> list[tuple[str, str]]:
    """Each way to preprocess on the server, and the place; with a GPU also DALI's there."""
    return [*((way, "server") for way in WAYS), *[("dali", "server-gpu")] * (device.kind == "gpu")]


def _dnn(dnn: Dnn, *, mark: str = DNN_MARK) -> Files:
    """The configuration of a DNN in ONNX."""
    config = ModelConfig(name=dnn.model, max_batch_size=dnn.batch)
    _state(config.input, dnn, dnn.inputs)
    _state(config.output, dnn, dnn.outputs)
    return {_CONFIG: _text(config, mark=mark, backend="onnxruntime", **_THREADS)}


def _fused(task: Task, way: str, *, who: str) -> dict[str, Files]:
    """The folder of preprocessing and DNN in one model."""
    name, dnn = served.fused(task.name, way, normalize=who), task.dnn
    config = _takes_jpeg(name, dnn)
    _state(config.output, dnn, [*dnn.outputs, _SIZE, _TRAIL, _ANSWER])
    told = {"task": task.name, "way": way, "normalize": who}
    return {name: _python(config, "fused", **told, **_THREADS)}


def _task(task: Task, way: str, *, place: str, who: str) -> dict[str, Files]:
    """The folder that preprocesses, and the ensemble; DALI takes no timestamps."""
    model = served.preprocessing(task.name, way, place=place, normalize=who)
    whole = served.ensemble(task.name, way, place=place, normalize=who)
    dnn = task.normalized_by(who).dnn
    handed = served.handed(dnn)
    extras = [_SIZE] if way == "dali" else [_SIZE, _TRAIL]
    ensemble = _takes_jpeg(whole, dnn, ragged=False)
    preprocessing = _takes_jpeg(model, dnn)
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
        told = {"task": task.name, "way": way, "normalize": who}
        files = _python(preprocessing, "preprocess", **told)
    return {model: files, whole: {_CONFIG: _text(ensemble)}}


def _takes_jpeg(name: str, dnn: Dnn, *, ragged: bool = True) -> Any:
    """The configuration, without outputs, of what takes encoded images for a DNN."""
    config = ModelConfig(name=name, max_batch_size=dnn.batch)
    ragged = ragged and dnn.batch > 0
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
