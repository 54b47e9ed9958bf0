"""Drop-in for Triton's dali backend: same model configuration, same outputs.

Serves the serialized graph `<version>/model.dali`, honours `num_threads` and the instance's CPU or
GPU, and runs the requests that the scheduler batched as one batch. A bad image fails its own
request and no other. Outputs on a GPU are copied to the host, which the native backend does not do:
the embedded server's DNN copies them there again.
"""

import json
import os

import numpy as np
import triton_python_backend_utils as pb

from pipelines.errors import ImageError
from pipelines.preprocess import dali_graph, formats
from pipelines.triton_models.dlpack import from_triton, refuse, respond


class TritonPythonModel:
    """One instance: a graph in a process of its own."""

    def initialize(self, args):
        """Load the graph; `args["model_repository"]` is the model's own directory."""
        config = json.loads(args["model_config"])
        threads = config.get("parameters", {}).get("num_threads", {}).get("string_value", 1)
        self._graph = dali_graph.load(
            os.path.join(args["model_repository"], args["model_version"], "model.dali"),
            batch_size=max(1, config["max_batch_size"]),
            threads=int(threads),
            gpu=_gpu(args),
        )
        (self._input,) = [tensor["name"] for tensor in config["input"]]
        self._outputs = {tensor["name"]: len(tensor["dims"]) for tensor in config["output"]}
        self._batches = config["max_batch_size"] > 0

    def execute(self, requests):
        """Return a response per request."""
        outcomes = [self._checked(request) for request in requests]
        good = [image for image in outcomes if isinstance(image, bytes)]
        results = iter(self._run(good))
        outcomes = [next(results) if isinstance(one, bytes) else one for one in outcomes]
        return [self._respond(outcome) for outcome in outcomes]

    def _checked(self, request):
        image = from_triton(pb.get_input_tensor_by_name(request, self._input)).tobytes()
        try:
            return formats.admitted(image).data
        except ImageError as error:
            return error

    def _run(self, images):
        """Return the graph's outputs, or an ImageError, for each image."""
        if not images:
            return []
        try:
            return dali_graph.run(self._graph, images)
        except ImageError as error:
            if len(images) == 1:
                return [error]
            return [outcome for image in images for outcome in self._run([image])]

    def _respond(self, outcome):
        if isinstance(outcome, ImageError):
            return refuse(pb, outcome)
        given = zip(self._outputs.items(), outcome, strict=True)
        return respond(pb, {name: self._shaped(one, rank) for (name, rank), one in given})

    def _shaped(self, output, rank):
        """Give it a batch dimension, unless the configuration states that it has none."""
        batched = self._batches or output.ndim < rank
        return np.ascontiguousarray(output[None] if batched else output)


def _gpu(args):
    """The number of the GPU that the instance is on, None for the CPU."""
    on_gpu = args["model_instance_kind"] == "GPU"
    return int(args["model_instance_device_id"]) if on_gpu else None
