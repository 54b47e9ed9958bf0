"""Classification: a JPEG in, the five likeliest ImageNet classes out."""

from __future__ import annotations

import time

import numpy as np

from pipelines.engine import Engine, Tensors, TensorSpec
from pipelines.errors import VisiontaxError
from pipelines.offload import Offloaded
from pipelines.outcome import MARKS, Outcome
from pipelines.preprocess import WAYS
from pipelines.spans import Span

PLACES = ("server", "client")
MODEL = "mobilenetv2"
TOP = 5
_LOGITS = TensorSpec("logits", np.float32, (1, 1000))
_MARKS = TensorSpec("marks", np.int64, (1, MARKS))


class Classification:
    """MobileNetV2 behind one of the ways to preprocess, on the server or here.

    On the server the ensemble `classification_<way>` takes the JPEG; here the client preprocesses
    and `mobilenetv2` takes the tensor.
    """

    def __init__(self, engine: Engine, *, way: str, place: str) -> None:
        if way not in WAYS:
            raise VisiontaxError(
                f"unknown way to preprocess: {way}", hint=f"known ways: {', '.join(WAYS)}"
            )
        if place not in PLACES:
            raise VisiontaxError(
                f"unknown place: {place}", hint=f"known places: {', '.join(PLACES)}"
            )
        self._engine = engine
        self._preprocess = Offloaded(way) if place == "client" else None
        self._preprocessor_model = f"preprocess_{way}"
        self.model = MODEL if place == "client" else f"classification_{way}"
        self._outputs = [_LOGITS]
        if place == "server" and way != "dali":
            self._outputs.append(_MARKS)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        spans: list[Span] = []
        inputs: Tensors
        if self._preprocess is None:
            inputs = {"jpeg": np.frombuffer(image, np.uint8)[None]}
        else:
            tensor, spans = self._preprocess(image)
            inputs = {"input": tensor[None]}
        exchange = self._engine.infer(
            self.model, inputs, outputs=self._outputs, request_id=request_id
        )
        answer = top_classes(exchange.outputs["logits"][0])
        answered_ns = time.monotonic_ns()
        spans += exchange.spans
        spans.append(Span("encode", exchange.start_ns, exchange.sent_ns, "client"))
        spans.append(Span("parse", exchange.received_ns, exchange.end_ns, "client"))
        spans.append(Span("postprocess", exchange.end_ns, answered_ns, "client"))
        marks = exchange.outputs.get("marks")
        return Outcome(
            answer=answer,
            sent_ns=exchange.sent_ns,
            received_ns=exchange.received_ns,
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            spans=spans,
            marks={} if marks is None else {self._preprocessor_model: marks[0]},
        )

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def top_classes(logits: np.ndarray) -> list[tuple[int, float]]:
    """Return the TOP likeliest (class index, softmax probability) of [1000] logits."""
    exponents = np.exp(logits - logits.max())
    best = np.argpartition(logits, -TOP)[-TOP:]
    best = best[np.argsort(-logits[best])]
    total = float(exponents.sum())
    return [(int(index), float(exponents[index]) / total) for index in best]


PIPELINES = {"classification": Classification}
