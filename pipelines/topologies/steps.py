"""The steps that pipelines are made of, wherever they run: ask a task's DNN about an image, cut out
the regions it found, ask the second DNN about them.
"""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import tasks
from pipelines.engines.engine import Engine
from pipelines.preprocess.choose import DECODE, FULL
from pipelines.preprocess.offload import at_once, run_of
from pipelines.preprocess.ways import Preprocessed, own
from pipelines.spans import Span
from pipelines.tasks import Chain, Regions, encoded, served
from pipelines.tasks.tensors import Pixels, Tensors, TensorSpec
from pipelines.topologies.names import FUSED, MOST_CROPS
from pipelines.topologies.outcome import ANSWER, TRAIL, Outcome
from pipelines.topologies.scenario import Setup

Crops = npt.NDArray[np.uint8]
"""[n, height, width, 3], RGB, in the size of the second DNN's input."""


_UNKNOWN = (1, 1)
"""The size of an image that nobody here has looked into."""


class FirstStage:
    """Asks a task's DNN about one image after the other.

    With the places "server" and "server-gpu" an ensemble or a fused model takes the JPEG, or the
    DNN itself does; with "client" this process preprocesses, and the DNN takes the tensor. `where`
    names this process in the spans: the client works on real threads, the others do at once.
    """

    def __init__(self, engine: Engine, setup: Setup, *, where: str) -> None:
        task, place, fused = setup.task, setup.place, setup.topology == FUSED
        self._engine, self._task, self._where = engine, task, where
        self._run = at_once if setup.local else run_of(where)
        self._here = place == "client"
        names = {"place": place, "normalize": setup.normalize}
        self._preparing = served.preprocessing(task.name, setup.preprocess, **names)
        self._dnn, self._model = task.dnn, task.dnn.model
        self._outputs = self._dnn.asked(1)
        self._as_is = self._dnn.input.encoded
        if not self._here and not self._as_is:
            self._model = served.ensemble(task.name, setup.preprocess, **names)
            extras, trail = [TensorSpec("size", np.int64, (1, 2))], _of_one(TRAIL)
            if fused or setup.preprocess != "dali":  # its graph cannot say where its time went
                extras.append(trail)
            self._outputs, self._extras = self._outputs + extras, extras
            if fused:
                self._model = served.fused(task.name, setup.preprocess, normalize=setup.normalize)
            if setup.answers == "encoded":
                self._outputs = [_of_one(ANSWER), trail]
        told = not (self._here or self._as_is or setup.decode == FULL)
        self._parameters = {DECODE: setup.decode} if told else None
        keep_pixels = tasks.is_chain(setup.pipeline)  # for its crops
        self._own = partial(
            own,
            setup.preprocess,
            task.dnn.input,
            keep_pixels=keep_pixels,
            decode=setup.decode,
        )

    def __call__(
        self, image: bytes, *, request_id: str, outcome: Outcome
    ) -> tuple[Any, Pixels | None]:
        """Return the answer, and the image's pixels where they are kept and known.

        What it took goes into `outcome`.
        """
        pixels = None
        if self._here:
            made = self._made(image, outcome)
            inputs: Tensors = self._dnn.feed(made.tensor[None])
            size, pixels = made.size, made.pixels
        elif self._as_is:
            inputs, size = self._dnn.feed(self._dnn.input.file(image)[None]), _UNKNOWN
        else:
            inputs = {"jpeg": np.frombuffer(image, np.uint8)[None]}
            size = _UNKNOWN
        exchange = self._engine.infer(
            self._model,
            inputs,
            outputs=self._outputs,
            request_id=request_id,
            parameters=self._parameters,
        )
        outcome.add(exchange, id=request_id, where=self._where)
        if ANSWER.name in exchange.outputs:
            answer = encoded.decode(self._task, exchange.outputs[ANSWER.name][0])
        else:
            tensors = self._dnn.of_one(exchange.outputs, 0)
            if not self._here and not self._as_is:
                height, width = (max(1, int(side)) for side in tensors["size"])  # the fake says 0
                size = (width, height)
            answer = self._task.answer(tensors, size)
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, self._where))
        return answer, pixels

    def preprocess(self, image: bytes, *, request_id: str, outcome: Outcome) -> None:
        """Have no more done than that; of the server the tensor is not asked for."""
        if self._here:
            self._made(image, outcome)
            return
        inputs = {"jpeg": np.frombuffer(image, np.uint8)[None]}
        exchange = self._engine.infer(
            self._preparing,
            inputs,
            outputs=self._extras,
            request_id=request_id,
            parameters=self._parameters,
        )
        outcome.add(exchange, id=request_id, where=self._where)

    def _made(self, image: bytes, outcome: Outcome) -> Preprocessed:
        made: Preprocessed
        made, waits = self._run(self._preprocess, image)
        outcome.spans += [*waits, *made.spans]
        return made

    def _preprocess(self, image: bytes) -> Preprocessed:
        return self._own()(image)


def _of_one(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(1, *spec.shape))


class FirstOfChain:
    """Finds a chain's regions in one image after the other, and cuts them out."""

    def __init__(self, engine: Engine, setup: Setup, *, where: str) -> None:
        self._ask, self._chain = FirstStage(engine, setup, where=where), tasks.chain(setup.pipeline)
        self._own = partial(own, setup.preprocess, self._chain.first.dnn.input)
        self._where, self._run = where, at_once if setup.local else run_of(where)

    def __call__(self, image: bytes, *, request_id: str, outcome: Outcome) -> tuple[Regions, Crops]:
        """Return the regions, and their crops; what it took goes into `outcome`."""
        regions, pixels = self._ask(image, request_id=request_id, outcome=outcome)
        (crops, spans), waits = self._run(self._cut, regions, image, pixels)
        outcome.spans += [*waits, *spans]
        return regions, crops

    def _cut(
        self, regions: Regions, image: bytes, pixels: Pixels | None
    ) -> tuple[Crops, list[Span]]:
        """Return the regions' crops; without `pixels` the image is decoded for them."""
        start = time.monotonic_ns()
        second = self._chain.second.input
        crops = np.empty((len(regions), second.height, second.width, 3), np.uint8)
        if not len(regions):
            return crops, []
        spans = []
        if pixels is None:
            pixels = self._own().decoded(image)
            decoded = time.monotonic_ns()
            spans.append(Span("decode", start, decoded, self._where))
            start = decoded
        for crop, region in zip(crops, regions, strict=True):
            crop[:] = self._chain.cut(pixels, region)
        spans.append(Span("resize", start, time.monotonic_ns(), self._where, len(regions)))
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
            dnn.model,
            dnn.feed(tensors),
            outputs=dnn.asked(count),
            request_id=request_id,
        )
        outcome.add(exchange, id=request_id, where=self._where, items=count)
        answers = [self._chain.read(dnn.of_one(exchange.outputs, i)) for i in range(count)]
        done_ns = time.monotonic_ns()
        outcome.spans.append(Span("postprocess", exchange.end_ns, done_ns, self._where, count))
        return answers
