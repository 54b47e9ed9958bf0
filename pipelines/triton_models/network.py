"""A DNN in ONNX, run by onnxruntime in the process of a Python model of Triton's.

It honours `intra_op_thread_count` and `inter_op_thread_count` of the model's configuration and the
instance's CPU or GPU. Tensors come and go through the host's memory, also those of a GPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipelines.errors import ServerError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

Arrays = Sequence[npt.NDArray[Any]]


class Network:
    """A session of the file; `inputs` and `outputs` are the names of its tensors.

    `config` is that of the model which runs it, `args` are those of its `initialize`. Raises
    ServerError when the instance is on a GPU that onnxruntime cannot use.
    """

    def __init__(
        self,
        path: Path,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        config: dict[str, Any],
        args: dict[str, str],
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _number(config, "intra_op_thread_count")
        options.inter_op_num_threads = _number(config, "inter_op_thread_count")
        self._session = _session(path, options, args)
        self._inputs, self._outputs = list(inputs), list(outputs)
        self._batches = config["max_batch_size"] > 0

    def __call__(self, requests: Sequence[Arrays]) -> list[Arrays]:
        """Return the outputs for the inputs of each request, run as one batch where it can be."""
        if len(requests) < 2 or not self._batches:
            return [self._run(tensors) for tensors in requests]
        joined = [np.concatenate(column) for column in zip(*requests, strict=True)]
        ends = np.cumsum([len(tensors[0]) for tensors in requests])[:-1]
        return list(zip(*(np.split(each, ends) for each in self._run(joined)), strict=True))

    def _run(self, tensors: Arrays) -> Arrays:
        given = dict(zip(self._inputs, tensors, strict=True))
        made: Arrays = self._session.run(self._outputs, given)
        return made


def _session(path: Path, options: Any, args: dict[str, str]) -> Any:
    """Open the model where its instance is; onnxruntime itself would fall back to the CPU."""
    if args["model_instance_kind"] != "GPU":
        return onnxruntime.InferenceSession(path, options, providers=[CPU])
    gpu = int(args["model_instance_device_id"])
    if CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls(directory="")  # CUDA's libraries, of the packages beside this one
        session = onnxruntime.InferenceSession(
            path, options, providers=[(CUDA, {"device_id": gpu}), CPU]
        )
        if CUDA in session.get_providers():
            return session
    raise ServerError(
        f"{args['model_name']} is to run on GPU {gpu}, but this onnxruntime has no working CUDA: "
        "put onnxruntime-gpu in its place, or serve on the CPU"
    )


def _number(config: dict[str, Any], name: str) -> int:
    return int(config.get("parameters", {}).get(name, {}).get("string_value", 0))
