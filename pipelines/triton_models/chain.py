"""The Python model behind every `triton_repo/<chain>_<way>`: both DNNs in one request to Triton.

Input `jpeg` is UINT8 [-1]. Outputs are `readings`, UINT8 [-1]: a `topologies.fused.Packed`; and
`trail`, UINT8 [-1]: a packed Trail.
"""

from __future__ import annotations

import json
import time
from typing import Any

import triton_python_backend_utils as pb

from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.spans import Span
from pipelines.topologies.direct import Direct
from pipelines.topologies.fused import Packed
from pipelines.topologies.outcome import Outcome, pack
from pipelines.triton_models.bls import BlsEngine
from pipelines.triton_models.dlpack import from_triton, to_triton


class TritonPythonModel:
    """One instance: the steps of `direct`, with the server itself as the engine."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the chain and the way from the model's parameters of these names."""
        config = json.loads(args["model_config"])
        chain, way = (config["parameters"][name]["string_value"] for name in ("chain", "way"))
        self._name = args["model_name"]
        self._engine = BlsEngine()
        self._chain = Direct(
            self._engine, tasks.chain(chain), way=way, place="client", where=self._name
        )

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
            known = isinstance(error, VisiontaxError)
            words = str(error) if known else f"{type(error).__name__}: {error}"
            return pb.InferenceResponse(error=pb.TritonError(words))
        return self._respond(outcome, fetched=fetched)

    def _respond(self, outcome: Outcome, *, fetched: Span) -> Any:
        start = time.monotonic_ns()
        regions, answers = outcome.answer.regions, outcome.answer.answers
        readings = pack(Packed(regions.shape, regions.tobytes(), answers))
        packed = Span("encode", start, time.monotonic_ns(), self._name)
        outcome.spans += [fetched, packed]
        return pb.InferenceResponse(
            [
                to_triton(pb, "readings", readings),
                to_triton(pb, "trail", pack(outcome.trail())),
            ]
        )
