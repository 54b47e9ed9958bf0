"""The steps that pipelines are made of, wherever they run: ask a task's DNN about an image, cut out
the regions it found, ask the second DNN about them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.engines.engine import Engine
from pipelines.preprocess.offload import Run, at_once
from pipelines.preprocess.ways import decode, preprocess
from pipelines.spans import Span
from pipelines.tasks import Chain, Dnn, Regions, Task
from pipelines.tasks.inputs import Pixels
from pipelines.tasks.served import ensemble
from pipelines.tasks.tensors import Tensors, TensorSpec
from pipelines.topologies.outcome import TRAIL, Outcome
from pipelines.topologies.scenario import MOST_CROPS

Crops = npt.NDArray[np.uint8]
"""[n, height, width, 3], RGB, in the size of the second DNN's input."""


@dataclass(frozen=True)
class Found:
    """A task's answer about an image; its pixels, where they were asked for and are known."""

    answer: Any
    pixels: Pixels | None


class FirstStage:
    """Asks a task's DNN about one image after the other.

    With the places "server" and "server-gpu" an ensemble takes the JPEG; with "client" this process
    preprocesses, and the DNN takes the tensor. `where` names this process in the spans.
    """

    def __init__(
        self, engine: Engine, task: Task, *, way: str, place: str, where: str, run: Run = at_once
    ) -> None:
        self._engine, self._task, self._way, self._run = engine, task, way, run
        self._where = where
        self._here = place == "client"
        self._model = task.dnn.model if self._here else ensemble(task.name, way, place=place)
        outputs = list(task.dnn.outputs)
        if not self._here:
            outputs.append(TensorSpec("size", np.int64, (2,)))
            if way != "dali":  # DALI's graph cannot say where its time went
                outputs.append(TRAIL)
        self._outputs = [replace(spec, shape=(1, *spec.shape)) for spec in outputs]

    def __call__(
        self, image: bytes, *, request_id: str, outcome: Outcome, keep_pixels: bool = False
    ) -> Found:
        """Return the answer; what it took goes into `outcome`."""
        pixels = None
        inputs: Tensors = {"jpeg": np.frombuffer(image, np.uint8)[None]}
        if self._here:
            model_input = self._task.dnn.input
            run = partial(preprocess, keep_pixels=keep_pixels)
            made, waits = self._run(run, image, self._way, model_input)
            outcome.spans += [*waits, *made.spans]
            inputs = {"input": made.tensor[None]}
            size, pixels = made.size, made.pixels
        exchange = self._engine.infer(
            self._model, inputs, outputs=self._outputs, request_id=request_id
        )
        outcome.add(exchange, id=request_id, where=self._where)
        tensors = {name: tensor[0] for name, tensor in exchange.outputs.items()}
        if not self._here:
            height, width = (max(1, int(side)) for side in tensors["size"])  # the fake says 0
            size = (width, height)
        answer = self._task.answer(tensors, size)
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, self._where))
        return Found(answer, pixels)


def cut(
    chain: Chain, regions: Regions, image: bytes, pixels: Pixels | None, way: str, where: str
) -> tuple[Crops, list[Span]]:
    """Return the regions' crops; without `pixels` the image is decoded for them."""
    start = time.monotonic_ns()
    second = chain.second.input
    crops = np.empty((len(regions), second.height, second.width, 3), np.uint8)
    if not len(regions):
        return crops, []
    spans = []
    if pixels is None:
        pixels = decode(image, way, chain.first.dnn.input)
        decoded = time.monotonic_ns()
        spans.append(Span("decode", start, decoded, where))
        start = decoded
    for crop, region in zip(crops, regions, strict=True):
        crop[:] = chain.cut(pixels, region)
    spans.append(Span("resize", start, time.monotonic_ns(), where, len(regions)))
    return crops, spans


class SecondStage:
    """Asks a chain's second DNN about crops, MOST_CROPS at a time."""

    def __init__(self, engine: Engine, chain: Chain, *, where: str) -> None:
        self._engine, self._chain, self._where = engine, chain, where

    def __call__(self, crops: Crops, *, request_id: str, outcome: Outcome) -> list[bytes]:
        """Return the packed answer about each crop; what it took goes into `outcome`.

        The batches' ids are `request_id` with /1, /2 ... appended.
        """
        answers: list[bytes] = []
        for number, first in enumerate(range(0, len(crops), MOST_CROPS), start=1):
            batch = crops[first : first + MOST_CROPS]
            answers += self._ask(batch, request_id=f"{request_id}/{number}", outcome=outcome)
        return answers

    def _ask(self, crops: Crops, *, request_id: str, outcome: Outcome) -> list[bytes]:
        start, count, dnn = time.monotonic_ns(), len(crops), self._chain.second
        tensors = np.stack([dnn.input.normalize(crop) for crop in crops])
        outcome.spans.append(Span("normalize", start, time.monotonic_ns(), self._where, count))
        exchange = self._engine.infer(
            dnn.model, {"input": tensors}, outputs=batched(dnn, count), request_id=request_id
        )
        outcome.add(exchange, id=request_id, where=self._where, items=count)
        answers = [
            self._chain.read({name: tensor[i] for name, tensor in exchange.outputs.items()})
            for i in range(count)
        ]
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, self._where, count))
        return answers


def batched(dnn: Dnn, count: int) -> list[TensorSpec]:
    """Return the DNN's outputs of a batch."""
    return [replace(spec, shape=(count, *spec.shape)) for spec in dnn.outputs]
