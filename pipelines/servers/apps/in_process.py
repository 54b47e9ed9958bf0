"""A pipeline of one DNN as a worker of an app runs it: a request's body to its answer's.

It tells its stages the way docs/own-code.md shows.
"""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnxruntime

from pipelines import paths, tasks
from pipelines.errors import EngineError, ServerError, VisiontaxError
from pipelines.preprocess.choose import DECODE, FULL, WAYS
from pipelines.preprocess.ways import own
from pipelines.servers.apps import open_inference
from pipelines.servers.sizing import default_sizes
from pipelines.servers.visiontax_spans import span, tell
from pipelines.spans import Trail
from pipelines.tasks.served import ensemble
from pipelines.tasks.tensors import Tensors

_NO_TRAIL = np.frombuffer(msgspec.msgpack.encode(Trail()), np.uint8)[None]
"""In the place of the spans that Triton's models send along."""


class Asked(NamedTuple):
    """A request as it came; all of it was there at `since_ns`."""

    model: str
    body: bytes
    head_bytes: int
    since_ns: int


class Reply(NamedTuple):
    """What is answered. `head_bytes` of an error is 0; `done_ns` is when it was computed."""

    status: int
    body: bytes
    head_bytes: int
    done_ns: int


def workers() -> int:
    """Return how many requests are worked on at a time: one a core, as Triton is sized."""
    return default_sizes().inference


def model_of(pipeline: str) -> Path:
    """Return the file of the pipeline's DNN.

    Raises VisiontaxError when it is no pipeline of one DNN, or its model is not there.
    """
    model = tasks.task(pipeline).dnn.model
    path = paths.REPOSITORY / model / "1" / "model.onnx"
    if not path.exists():
        raise ServerError(
            f"{model} has no 1/model.onnx in the model repository",
            hint="run 'bench models'; models of another kind only Triton serves",
        )
    return path


class InProcess:
    """The pipeline by each way to preprocess; several threads may ask it at a time."""

    def __init__(self, pipeline: str) -> None:
        """Raises VisiontaxError as `model_of` does."""
        self._dnn = tasks.task(pipeline).dnn
        self._ways = {ensemble(pipeline, way): way for way in WAYS}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model_of(pipeline), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, asked: Asked) -> Reply:
        """Return the answer, or why there is none: what was asked is to blame for every error."""
        turn_ns = time.monotonic_ns()
        try:
            body, head_bytes, done_ns = self._answer(asked, turn_ns=turn_ns)
        except VisiontaxError as error:
            words = open_inference.refusal(str(error))
            return Reply(400, words, 0, time.monotonic_ns())
        return Reply(200, body, head_bytes, done_ns)

    def _answer(self, asked: Asked, *, turn_ns: int) -> tuple[bytes, int, int]:
        way = self._ways.get(asked.model)
        if way is None:
            known = ", ".join(self._ways)
            raise EngineError(f"unknown model: {asked.model}; known: {known}")
        wanted = open_inference.read(asked.body, head_bytes=asked.head_bytes)
        tell("queue", asked.since_ns, turn_ns, request_id=wanted.id)
        try:
            image = wanted.inputs["jpeg"].tobytes()
        except KeyError:
            raise EngineError(f"{asked.model} takes an image as jpeg") from None
        tell("input", turn_ns, time.monotonic_ns(), request_id=wanted.id)
        decode = str(wanted.parameters.get(DECODE, FULL))
        made = own(way, self._dnn.input, decode=decode)(image)
        for one in made.spans:
            tell(one.stage, one.start_ns, one.end_ns, request_id=wanted.id)
        with span("input", request_id=wanted.id):
            fed = self._dnn.feed(made.tensor[None])
        with span("inference", request_id=wanted.id):
            names = [one.name for one in self._dnn.outputs]
            answers: Tensors = dict(zip(names, self._session.run(names, fed), strict=True))
        done_ns = time.monotonic_ns()
        answers |= {"size": np.array([made.size[::-1]], np.int64), "trail": _NO_TRAIL}
        try:
            chosen = {name: answers[name] for name in wanted.outputs or answers}
        except KeyError as error:
            raise EngineError(f"{asked.model} has no output {error}") from None
        return *open_inference.write(chosen, model=asked.model, id=wanted.id), done_ns
