"""Drop-in for Triton's onnxruntime backend: same model configuration, same outputs.

Serves `<version>/model.onnx`, honours `default_model_filename` and what a Network honours, and runs
the requests that the scheduler batched as one batch.
"""

import json
from pathlib import Path

import triton_python_backend_utils as pb

from pipelines.triton_models.dlpack import from_triton, respond
from pipelines.triton_models.network import Network


class TritonPythonModel:
    """One instance: a session in a process of its own."""

    def initialize(self, args):
        """Open the session; `args["model_repository"]` is the model's own directory."""
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"], args["model_version"], file)
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        names = {"inputs": self._inputs, "outputs": self._outputs}
        self._network = Network(path, **names, config=config, args=args)

    def execute(self, requests):
        """Return a response per request."""
        inputs = [
            [from_triton(pb.get_input_tensor_by_name(request, name)) for name in self._inputs]
            for request in requests
        ]
        return [
            respond(pb, dict(zip(self._outputs, outputs, strict=True)))
            for outputs in self._network(inputs)
        ]
