"""How many instances of each model Triton serves, and on what: `configs/sized.pbtxt` of each."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pipelines.servers.device import CPU, Device
from pipelines.tasks.served import preprocesses_on_gpu

SIZED = "sized"
"""The name of the model configurations that `size` writes, for Triton's --model-config-name."""

PLAN = "model.plan"
"""A DNN as TensorRT runs it, beside its model.onnx."""

_OF_DNNS = "intra_op_thread_count"
_THREADS = {
    "onnxruntime": (_OF_DNNS, 0),
    "dali": ("num_threads", 1),
    "python": (_OF_DNNS, 1),
}
"""The parameter with which a backend is told its threads, and how many without it. A Python model
that has it runs a DNN.
"""

BATCH_DELAY_US = 1000
"""How long a request waits for others to be computed with it."""

_PER_GPU = 2
"""Instances of a DNN on each GPU: one copies its tensors while the other computes."""


@dataclass(frozen=True)
class Sizes:
    """How many instances of each model are served, and where.

    `preprocess`: of each preprocessing model; with GPUs of each model that stays on the CPU.
    `inference`: of every other model; with GPUs, on each of them, of each model that runs there:
    the DNNs, and what preprocesses on the GPU. A fused model, whose DNN is on a GPU, also
    preprocesses: with GPUs it has at least as many instances as `preprocess`, over all GPUs.
    `threads`: that each instance of a DNN computes with on the CPU; as its configuration says where
    it is None.
    `batch`: of so many requests, or as many as it takes, Triton makes batches for each DNN, and for
    each fused model; 1 is of none, None as its configuration says.
    """

    preprocess: int
    inference: int
    device: Device = CPU
    threads: int | None = None
    batch: int | None = None


class Served(msgspec.Struct, frozen=True):
    """How a server serves one model: its `instances`, and the `threads` that each computes with, 0
    for as many as there are cores; `gpu` says whether they are on GPUs.
    """

    instances: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
    threads: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 1
    gpu: bool = False


def served(config: Mapping[str, Any]) -> Served:
    """Return what a model's configuration says, as a running Triton gives it.

    Of what it does not say the backends have their own defaults: onnxruntime takes all cores, and
    our Python models and DALI one thread. Raises KeyError, TypeError or ValueError of what is none.
    """
    groups, backend = config["instance_group"], config.get("backend")
    name, threads = _THREADS.get(str(backend), ("", 1))
    if told := config.get("parameters", {}).get(name):
        threads = int(told["string_value"])
    return Served(
        instances=sum(int(group["count"]) * max(1, len(group.get("gpus", []))) for group in groups),
        threads=threads,
        gpu=any(group.get("gpus") for group in groups),
    )


def default_sizes(device: Device = CPU) -> Sizes:
    """One single-threaded instance of each model per core, so that either stage can fill them.

    What runs on a GPU has two on each.
    """
    cores = len(os.sched_getaffinity(0))
    inference = cores if device.kind == "cpu" else _PER_GPU
    return Sizes(preprocess=cores, inference=inference, device=device)


def sizes_of(
    device: Device = CPU,
    *,
    preprocess_instances: int | None = None,
    inference_instances: int | None = None,
    threads: int | None = None,
    dnn_batch: int | None = None,
) -> Sizes:
    """Return the sizes that are asked for, the default ones where nothing is."""
    default = default_sizes(device)
    return Sizes(
        preprocess=preprocess_instances or default.preprocess,
        inference=inference_instances or default.inference,
        device=device,
        threads=threads,
        batch=dnn_batch,
    )


def size(repository: Path, sizes: Sizes, *, plans: bool) -> None:
    """Write `<model>/configs/sized.pbtxt`: the model's configuration with its instances.

    With `plans`, a DNN on a GPU is served by TensorRT where its plan is built. Ensembles and models
    that state their own `instance_group` are left alone.
    """
    for config in sorted(repository.glob("*/config.pbtxt")):
        text = config.read_text()
        if "instance_group" in text or "ensemble_scheduling" in text:
            continue
        on_gpu = sizes.device.kind == "gpu" and _can_use_gpu(config.parent.name, text)
        if sizes.threads and _runs_dnn(text):
            text = _with_threads(text, sizes.threads)
        if sizes.batch and _runs_dnn(text):
            text = _batching(text, sizes.batch)
        if on_gpu and plans and (config.parent / "1" / PLAN).exists():
            text = _by_tensorrt(text)
        fused = _backend(text) == "python" and _runs_dnn(text)
        instances = _instances(config.parent.name, sizes, on_gpu=on_gpu, fused=fused)
        sized = config.parent / "configs" / f"{SIZED}.pbtxt"
        text = f"{text}\ninstance_group [ {{ {instances} }} ]\n"
        if sized.exists() and sized.read_text() == text:
            continue  # the repository may be one that only others write to
        sized.parent.mkdir(exist_ok=True)
        partial = sized.with_name(f"{sized.name}.{os.getpid()}")  # another server may be reading it
        partial.write_text(text)
        partial.replace(sized)


def _instances(model: str, sizes: Sizes, *, on_gpu: bool, fused: bool) -> str:
    if on_gpu:
        gpus = ", ".join(map(str, sizes.device.gpus))
        least = math.ceil(sizes.preprocess / len(sizes.device.gpus)) if fused else 1
        return f"count: {max(sizes.inference, least)} kind: KIND_GPU gpus: [ {gpus} ]"
    everything_is_here = sizes.device.kind == "cpu"
    infers = everything_is_here and not model.startswith("preprocess_")
    return f"count: {sizes.inference if infers else sizes.preprocess} kind: KIND_CPU"


def _can_use_gpu(model: str, config: str) -> bool:
    """Python models without a DNN compute on the CPU; DALI's graph says itself where it runs."""
    computes = _backend(config) not in ("python", "dali") or _runs_dnn(config)
    return computes or preprocesses_on_gpu(model)


def _runs_dnn(config: str) -> bool:
    """Whether it is a DNN's, or a Python model's that runs one itself."""
    return _backend(config) == "onnxruntime" or _OF_DNNS in config


def _backend(config: str) -> str:
    found = re.search(r'backend:\s*"(\w+)"', config)
    return found[1] if found else ""


def _with_threads(config: str, threads: int) -> str:
    """The configuration of a DNN whose instances compute with so many threads each."""
    made = _read(config)
    made.parameters[_OF_DNNS].string_value = str(threads)
    return _written(made)


def _batching(config: str, most: int) -> str:
    """The configuration of a DNN for which Triton makes batches of so many, or of all it takes."""
    made = _read(config)
    most = min(most, made.max_batch_size)
    made.ClearField("dynamic_batching")
    if most > 1:
        made.dynamic_batching.preferred_batch_size.append(most)
        made.dynamic_batching.max_queue_delay_microseconds = BATCH_DELAY_US
    return _written(made)


def _by_tensorrt(config: str) -> str:
    """The configuration of a DNN for TensorRT, which knows none of onnxruntime's parameters."""
    made = _read(config)
    made.backend, made.platform, made.default_model_filename = "tensorrt", "", PLAN
    made.parameters.clear()
    return _written(made)


def _read(config: str) -> Any:
    # Imported here because only what changes a configuration needs gRPC's packages.
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    return text_format.Parse(config, ModelConfig())


def _written(made: Any) -> str:
    from google.protobuf import text_format

    return str(text_format.MessageToString(made))
