"""The Python model behind every `triton_repo/preprocess_<task>_<way>` that is no graph of DALI's.

Input `jpeg` is UINT8 [-1]. Outputs are `tensor`, what the task's DNN takes, and its constants;
`size`, INT64 [2], the upright image's height and width; and `trail`, UINT8 [-1]: a packed Trail.
The request's parameter `decode` says how much of the image is decoded.
"""

import functools
import json
import time
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from pipelines import tasks
from pipelines.errors import ImageError, words
from pipelines.preprocess.choose import DECODE, FULL
from pipelines.preprocess.ways import Preprocessed, preprocessor
from pipelines.spans import Span, Trail
from pipelines.tasks import served
from pipelines.topologies.outcome import pack
from pipelines.triton_models.dlpack import from_triton, refuse, respond


def decode_of(request: Any) -> str:
    """Return how much of the image the request wants decoded."""
    return str(json.loads(request.parameters() or "{}").get(DECODE, FULL))


class TritonPythonModel:
    """One instance: a process of its own, preprocessing one image after the other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the task, the way and who normalizes from the parameters of these names."""
        config = json.loads(args["model_config"])
        task, preprocess, normalize = (
            config["parameters"][name]["string_value"] for name in ("task", "way", "normalize")
        )
        self._name = args["model_name"]
        self._task = tasks.task(task).normalized_by(normalize)
        self._dnn = self._task.dnn
        self._ways = functools.cache(partial(preprocessor, preprocess, self._dnn.input))
        self._ways(decode=FULL)  # imports its library before the first request

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response per request; a bad image is an error of its own request."""
        called_ns = time.monotonic_ns()
        results = [self._one(request, called_ns=called_ns) for request in requests]
        done_ns = time.monotonic_ns()
        return [self._respond(result, done_ns=done_ns) for result in results]

    def _one(self, request: Any, *, called_ns: int) -> Preprocessed | ImageError:
        turned_ns = time.monotonic_ns()
        data = from_triton(pb.get_input_tensor_by_name(request, "jpeg")).tobytes()
        try:
            made: Preprocessed = self._ways(decode=decode_of(request))(data)
        except ImageError as error:
            return error
        except Exception as error:  # anything raised here would fail the rest of the batch too
            return ImageError(f"preprocessing failed: {words(error)}")
        made.spans[:0] = [
            Span("queue", called_ns, turned_ns, self._name),  # until the batch came to this image
            Span("input", turned_ns, made.spans[0].start_ns, self._name),
        ]
        return made

    def _respond(self, result: Preprocessed | ImageError, *, done_ns: int) -> Any:
        if isinstance(result, ImageError):
            return refuse(pb, result)
        waited = Span("queue", result.spans[-1].end_ns, done_ns, self._name)  # for the others
        size = np.array([result.size[::-1]], np.int64)
        trail = pack(Trail([*result.spans, waited]))[None]
        handed = served.handed(self._dnn)
        given = {handed[name]: one for name, one in self._dnn.feed(result.tensor[None]).items()}
        return respond(pb, {**given, "size": size, "trail": trail})
