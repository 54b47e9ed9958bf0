"""The Python model behind every `triton_repo/<task>_fused_<way>`: preprocessing and DNN in one
process, so that no tensor goes from one to another.

Input `jpeg` is UINT8 [-1]. Outputs are the DNN's; `size` and `trail`, as of `preprocess`; and
`answer`, UINT8 [-1], which is made by `tasks.encoded` where a request asks for it.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from pipelines.errors import ImageError
from pipelines.preprocess.ways import Preprocessed
from pipelines.spans import Span, Trail
from pipelines.tasks import encoded
from pipelines.tasks.tensors import Tensors
from pipelines.topologies.outcome import ANSWER, TRAIL, pack
from pipelines.triton_models import preprocess
from pipelines.triton_models.dlpack import refuse, respond
from pipelines.triton_models.network import Arrays, Network


class TritonPythonModel(preprocess.TritonPythonModel):
    """One instance: a process that preprocesses, and has a session of the DNN."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the DNN's file, in its own folder beside this model's."""
        super().initialize(args)
        dnn = self._dnn
        self._network = Network(
            Path(args["model_repository"]).parent / dnn.model / "1" / "model.onnx",
            inputs=[each.name for each in dnn.inputs],
            outputs=[each.name for each in dnn.outputs],
            config=json.loads(args["model_config"]),
            args=args,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response per request; a bad image is an error of its own request."""
        called_ns = time.monotonic_ns()
        made = [self._one(request, called_ns=called_ns) for request in requests]
        good = [one for one in made if not isinstance(one, ImageError)]
        fed = [self._dnn.feed(one.tensor[None]) for one in good]
        names = [each.name for each in self._dnn.inputs]
        start = time.monotonic_ns()
        outputs = iter(self._network([[one[name] for name in names] for one in fed]))
        inferred = Span("inference", start, time.monotonic_ns(), self._name, len(good))
        return [
            refuse(pb, one)
            if isinstance(one, ImageError)
            else self._answer(request, one, next(outputs), inferred)
            for request, one in zip(requests, made, strict=True)
        ]

    def _answer(self, request: Any, made: Preprocessed, outputs: Arrays, inferred: Span) -> Any:
        waited = Span("queue", made.spans[-1].end_ns, inferred.start_ns, self._name)
        spans = [*made.spans, waited, inferred]  # it waited for the rest of its batch
        names = [each.name for each in self._dnn.outputs]
        given: Tensors = dict(zip(names, outputs, strict=True))
        wanted = request.requested_output_names()
        try:
            if ANSWER.name in wanted:
                start = time.monotonic_ns()
                answer = encoded.encode(self._task, self._dnn.of_one(given, 0), made.size)
                given[ANSWER.name] = answer[None]
                spans.append(Span("postprocess", start, time.monotonic_ns(), self._name))
            given["size"] = np.array([made.size[::-1]], np.int64)
            given[TRAIL.name] = pack(Trail(spans))[None]
            return respond(pb, {name: given[name] for name in wanted})
        except Exception as error:  # anything raised here would fail the rest of the batch too
            return refuse(pb, error)
