"""The transport `local`: no server. The process that asks runs the DNN itself, on one thread: with
one such process a core it is what decoding and inference alone allow.
"""

import functools
import time

import onnxruntime

from pipelines import paths
from pipelines.engines.engine import Engine, Exchange, Parameters
from pipelines.errors import EngineError
from pipelines.spans import Span
from pipelines.tasks.tensors import Tensors, TensorSpec


class LocalEngine(Engine):
    """Runs `<model>/1/model.onnx` of the repository; the model is opened with its first request.

    Raises EngineError of a model that is not there, or of inputs that it does not take.
    """

    def __init__(self, url: str) -> None:
        del url  # there is no server

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Run the DNN here and now: nothing else of this process goes on meanwhile."""
        del request_id, parameters  # which are a server's
        session = _session(model)
        names = [one.name for one in outputs]
        start = time.monotonic_ns()
        try:
            answers = session.run(names, inputs)
        except Exception as error:  # onnxruntime has no class of its own for all of them
            raise EngineError(f"{model}: {error}") from error
        end = time.monotonic_ns()
        return Exchange(
            outputs=dict(zip(names, answers, strict=True)),
            start_ns=start,
            sent_ns=start,
            received_ns=end,
            end_ns=end,
            bytes_in=0,
            bytes_out=0,
            spans=[Span("inference", start, end, model)],
        )


@functools.cache
def _session(model: str) -> onnxruntime.InferenceSession:
    """The model, open in this process: that which forks has none yet."""
    path = paths.REPOSITORY / model / "1" / "model.onnx"
    if not path.exists():
        raise EngineError(
            f"{model} has no 1/model.onnx in the model repository",
            hint="run 'bench models'; models of another kind only Triton serves",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
