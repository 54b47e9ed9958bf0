"""The Python model behind `triton_repo/preprocess_opencv` and `preprocess_pillow`.

Input `jpeg` is UINT8 [-1]. Outputs are `tensor`, FP32 [3, 224, 224], and `marks`, INT64 [MARKS]:
the timestamps that `pipelines.outcome.spans_of_marks` reads.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from pipelines.dlpack import from_triton, to_triton
from pipelines.errors import ImageError
from pipelines.preprocess import preprocessor


class TritonPythonModel:
    """One instance: a process of its own, preprocessing one image after the other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the way from the model's parameter `way`."""
        config = json.loads(args["model_config"])
        self._preprocess = preprocessor(config["parameters"]["way"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response per request; a bad image is an error of its own request."""
        called_ns = time.monotonic_ns()
        results = [self._one(request, called_ns=called_ns) for request in requests]
        done_ns = time.monotonic_ns()
        return [_response(result, done_ns=done_ns) for result in results]

    def _one(self, request: Any, *, called_ns: int) -> Any:
        turned_ns = time.monotonic_ns()
        data = from_triton(pb.get_input_tensor_by_name(request, "jpeg")).tobytes()
        try:
            tensor, spans = self._preprocess(data)
        except ImageError as error:
            return error
        except Exception as error:  # anything raised here would fail the rest of the batch too
            return ImageError(f"preprocessing failed: {type(error).__name__}: {error}")
        ends_ns = [span.end_ns for span in spans]
        return tensor, [called_ns, turned_ns, spans[0].start_ns, *ends_ns]


def _response(result: Any, *, done_ns: int) -> Any:
    if isinstance(result, ImageError):
        return pb.InferenceResponse(error=pb.TritonError(str(result)))
    tensor, marks = result
    return pb.InferenceResponse(
        [
            to_triton(pb, "tensor", tensor[None]),
            to_triton(pb, "marks", np.array([[*marks, done_ns]], np.int64)),
        ]
    )
