"""The Python model behind every `triton_repo/<chain>_<way>`: both DNNs in one request to Triton.

Input `jpeg` is UINT8 [-1]. Outputs are `readings`, UINT8 [-1]: a `topologies.asking.Packed`; and
`trail`, UINT8 [-1]: a packed Trail.
"""

import json
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from pipelines.engines.engine import Engine, Exchange, Parameters
from pipelines.errors import EngineError
from pipelines.spans import Span
from pipelines.tasks.tensors import Tensors, TensorSpec
from pipelines.topologies.asking import Direct, Packed
from pipelines.topologies.outcome import pack
from pipelines.topologies.scenario import Setup
from pipelines.triton_models.dlpack import from_triton, refuse, respond, to_triton


class BlsEngine(Engine):
    """Business logic scripting as an Engine. `trace` is that of the request being answered."""

    def __init__(self) -> None:
        self.trace: Any = None

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Run one request; tensors stay in the server's shared memory."""
        del parameters  # the DNNs of a chain take none
        start = time.monotonic_ns()
        request = pb.InferenceRequest(
            model_name=model,
            request_id=request_id,
            inputs=[to_triton(pb, name, tensor) for name, tensor in inputs.items()],
            requested_output_names=[spec.name for spec in outputs],
            trace=self.trace,
            preferred_memory=pb.PreferredMemory(pb.TRITONSERVER_MEMORY_CPU),
        )
        sent = time.monotonic_ns()
        response = request.exec()
        received = time.monotonic_ns()
        if response.has_error():
            raise EngineError(response.error().message())
        named = {tensor.name(): tensor for tensor in response.output_tensors()}
        tensors = {spec.name: np.array(from_triton(named[spec.name])) for spec in outputs}
        end = time.monotonic_ns()
        bytes_in = sum(tensor.nbytes for tensor in inputs.values())
        bytes_out = sum(tensor.nbytes for tensor in tensors.values())
        return Exchange(tensors, start, sent, received, end, bytes_in, bytes_out)


class TritonPythonModel:
    """One instance: the steps of `direct`, with the server itself as the engine."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the chain and the way from the model's parameters of these names."""
        config = json.loads(args["model_config"])
        chain, preprocess = (
            config["parameters"][name]["string_value"] for name in ("chain", "way")
        )
        self._name = args["model_name"]
        self._engine = BlsEngine()
        setup = Setup(pipeline=chain, preprocess=preprocess, place="client")
        self._chain = Direct(self._engine, setup, where=self._name)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response per request; a bad image is an error of its own request."""
        return [self._one(request) for request in requests]

    def _one(self, request: Any) -> Any:
        called_ns = time.monotonic_ns()
        data = from_triton(pb.get_input_tensor_by_name(request, "jpeg")).tobytes()
        fetched = Span("input", called_ns, time.monotonic_ns(), self._name)
        self._engine.trace = request.trace()
        try:
            outcome = self._chain(data, request_id=f"{request.request_id()}/0")
        except Exception as error:  # anything raised here would fail the rest of the batch too
            return refuse(pb, error)
        start = time.monotonic_ns()
        regions, answers = outcome.answer.regions, outcome.answer.answers
        readings = pack(Packed(regions.shape, regions.tobytes(), answers))
        packed = Span("encode", start, time.monotonic_ns(), self._name)
        outcome.spans += [fetched, packed]
        return respond(pb, {"readings": readings, "trail": pack(outcome.trail())})
