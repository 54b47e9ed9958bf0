"""Drop-in for Triton's onnxruntime backend: same model configuration, same outputs.

Serves `<version>/model.onnx`, honours `default_model_filename`, `intra_op_thread_count`,
`inter_op_thread_count` and the instance's CPU or GPU, and runs the requests that the scheduler
batched as one batch. Tensors come and go through the host's memory, also those of a GPU.
"""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb

from pipelines.errors import ServerError
from pipelines.triton_models.dlpack import from_triton, respond

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class TritonPythonModel:
    """One instance: a session in a process of its own."""

    def initialize(self, args):
        """Open the session; `args["model_repository"]` is the model's own directory."""
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _number(config, "intra_op_thread_count")
        options.inter_op_num_threads = _number(config, "inter_op_thread_count")
        path = os.path.join(
            args["model_repository"],
            args["model_version"],
            config.get("default_model_filename") or "model.onnx",
        )
        self._session = _session(path, options, args)
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._batches = config["max_batch_size"] > 0

    def execute(self, requests):
        """Return a response per request."""
        inputs = [
            [from_triton(pb.get_input_tensor_by_name(request, name)) for name in self._inputs]
            for request in requests
        ]
        if len(requests) == 1 or not self._batches:
            return [self._respond(self._run(tensors)) for tensors in inputs]
        joined = [np.concatenate(column) for column in zip(*inputs, strict=True)]
        ends = np.cumsum([len(tensors[0]) for tensors in inputs])[:-1]
        parts = zip(*(np.split(output, ends) for output in self._run(joined)), strict=True)
        return [self._respond(part) for part in parts]

    def _run(self, tensors):
        return self._session.run(self._outputs, dict(zip(self._inputs, tensors, strict=True)))

    def _respond(self, outputs):
        return respond(pb, dict(zip(self._outputs, outputs, strict=True)))


def _session(path, options, args):
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


def _number(config, name):
    return int(config.get("parameters", {}).get(name, {}).get("string_value", 0))
