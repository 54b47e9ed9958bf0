"""How many instances of each model Triton serves, and on what: `configs/sized.pbtxt` of each."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.servers.device import CPU, Device
from pipelines.tasks.served import preprocesses_on_gpu

SIZED = "sized"
"""The name of the model configurations that `size` writes, for Triton's --model-config-name."""

PLAN = "model.plan"
"""A DNN as TensorRT runs it, beside its model.onnx."""

_PER_GPU = 2
"""Instances of a DNN on each GPU: one copies its tensors while the other computes."""


@dataclass(frozen=True)
class Sizes:
    """How many instances of each model are served, and where.

    `preprocess`: of each preprocessing model; with GPUs of each model that stays on the CPU.
    `inference`: of every other model; with GPUs, on each of them, of each model that runs there:
    the DNNs, and what preprocesses on the GPU.
    """

    preprocess: int
    inference: int
    device: Device = CPU


def default_sizes(device: Device = CPU) -> Sizes:
    """One single-threaded instance of each model per core, so that either stage can fill them.

    What runs on a GPU has two on each.
    """
    cores = len(os.sched_getaffinity(0))
    inference = cores if device.kind == "cpu" else _PER_GPU
    return Sizes(preprocess=cores, inference=inference, device=device)


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
        if on_gpu and plans and (config.parent / "1" / PLAN).exists():
            text = _by_tensorrt(text)
        instances = _instances(config.parent.name, sizes, on_gpu=on_gpu)
        sized = config.parent / "configs" / f"{SIZED}.pbtxt"
        text = f"{text}\ninstance_group [ {{ {instances} }} ]\n"
        if sized.exists() and sized.read_text() == text:
            continue  # the repository may be one that only others write to
        sized.parent.mkdir(exist_ok=True)
        partial = sized.with_name(f"{sized.name}.{os.getpid()}")  # another server may be reading it
        partial.write_text(text)
        partial.replace(sized)


def _instances(model: str, sizes: Sizes, *, on_gpu: bool) -> str:
    if on_gpu:
        gpus = ", ".join(map(str, sizes.device.gpus))
        return f"count: {sizes.inference} kind: KIND_GPU gpus: [ {gpus} ]"
    everything_is_here = sizes.device.kind == "cpu"
    infers = everything_is_here and not model.startswith("preprocess_")
    return f"count: {sizes.inference if infers else sizes.preprocess} kind: KIND_CPU"


def _can_use_gpu(model: str, config: str) -> bool:
    """Python models compute on the CPU, and DALI's graph says itself where it runs."""
    backend = re.search(r'backend:\s*"(\w+)"', config)
    if backend is None or backend[1] not in ("python", "dali"):
        return True
    return preprocesses_on_gpu(model)


def _by_tensorrt(config: str) -> str:
    """The configuration of a DNN for TensorRT, which knows none of onnxruntime's parameters."""
    # Imported here because only a plan needs gRPC's packages.
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    made = text_format.Parse(config, ModelConfig())
    made.backend, made.platform, made.default_model_filename = "tensorrt", "", PLAN
    made.parameters.clear()
    return str(text_format.MessageToString(made))
