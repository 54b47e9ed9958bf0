"""Chains in their parts, for the tests: pictures whose fan-out is known, and workers to start and
to kill. Run as a program, a worker: `chains.py TAKEOVER_S` and the arguments of pipelines.worker.
"""

import contextlib
import dataclasses
import functools
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from processes import PYTHON, ROOT, ended, started, until

from bench.prepare.images.recipes import Truth, make_image
from bench.prepare.images.scenes import SCENES
from bench.prepare.images.sets import SEED
from bench.prepare.pins import DOWNLOADS, read_members
from bench.record import scenario, trace
from bench.runs.equipment import worker_arguments
from pipelines import tasks
from pipelines.engines.choose import TRANSPORTS
from pipelines.engines.engine import Exchange
from pipelines.errors import EngineError
from pipelines.servers import control, triton
from pipelines.spans import Request
from pipelines.tasks.tensors import Tensors
from pipelines.topologies import choose
from pipelines.topologies.outcome import Pipeline

TAKEOVER_S = 1.5
"""After so long a worker of ours counts as gone."""

NO_ANSWER, COLOURS = "no-answer", "colours"
"""Transports that only workers of ours know; see the classes of these names."""

NEVER = "0,0"
GO_ON = "VISIONTAX_TESTS_GO_ON"
SLOW, STUCK = "is slow", "is stuck"
"""What those say when they are in trouble."""


@functools.cache
def picture(name: str, number: int = 0) -> tuple[bytes, Truth]:
    """The image of that number of a built set, and what it shows."""
    kind = name.split("-")[0]
    recipe = SCENES[name]
    return make_image(recipe, _photographs(kind), seed=f"{SEED} {kind} {number}")


@functools.cache
def _photographs(kind: str) -> dict[str, Image.Image]:
    members = read_members(SCENES[f"{kind}-1"].photographs, downloads=ROOT / DOWNLOADS)
    return {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in members.items()}


def asking(settings: scenario.Settings) -> contextlib.closing[Pipeline]:
    """A pipeline as one user has it."""
    return contextlib.closing(choose.pipeline(settings))


@contextlib.contextmanager
def tracing(triton: triton.Server, folder: Path) -> Iterator[set[str]]:
    """Triton traces all requests into the folder. What is given takes the ids of those that must be
    there at the end.
    """
    folder.mkdir()
    file = triton.log.with_name("trace.json")
    first = trace.next_number(file)
    control.turn_on(triton.url)
    ids: set[str] = set()
    yield ids
    control.turn_off(triton.url)
    until(lambda: ids <= _written(file, first=first), "their traces are written")
    trace.collect(file, folder, first=first, last=True)
    trace.fold(folder)


def _written(file: Path, *, first: int) -> set[str]:
    """The ids of the requests in Triton's files, none while one of these is being written."""
    found: set[str] = set()
    for number, path in trace.numbered(file):
        rows, ending = trace.read_file(path) if number >= first else ([], "whole")
        if ending == "cut":
            return set()
        found |= {row[0] for row in rows}
    return found


def recorded(ask: Pipeline, image: bytes, *, request_id: str) -> tuple[Any, Request]:
    """Ask once; the answer, and the request as the load records it."""
    start_ns = time.monotonic_ns()
    outcome = ask(image, request_id=request_id)
    end_ns = time.monotonic_ns()
    trail, size = outcome.trail(), (outcome.bytes_in, outcome.bytes_out)
    times = (start_ns, start_ns, end_ns)
    return outcome.answer, Request(request_id, "", *times, None, *size, trail.spans, trail.calls)


@contextlib.contextmanager
def worker(
    settings: scenario.Settings, stage: str, *, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that counts as gone after TAKEOVER_S. Afterwards it is stopped, if it still runs."""
    arguments = worker_arguments(settings, stage)[2:]
    with started((PYTHON, __file__), TAKEOVER_S, *arguments, log=log) as process:
        yield process
        process.terminate()
        ended(process)


def says(log: Path, words: str) -> None:
    """Wait until the log has the words."""
    until(lambda: words in log.read_text(), f"{log.name} says {words!r}")


def changed(settings: scenario.Settings, **changes: Any) -> scenario.Settings:
    """The settings with changes."""
    return msgspec.structs.replace(settings, **changes)


def stick() -> None:
    """Say so, and do nothing any more."""
    print(STUCK, file=sys.stderr, flush=True)
    time.sleep(3600)


class NoAnswer:
    """An engine that never answers, which it says on stderr."""

    def __init__(self, url: str) -> None:
        del url

    def infer(self, *_: Any, **__: Any) -> Exchange:
        """Do not."""
        stick()
        raise AssertionError

    def close(self) -> None:
        """Do nothing."""


class Colours:
    """An engine that embeds a crop as its colour. With a red one it refuses the whole batch.

    Its address says at which batches it falls into trouble, such as 5,10: it answers the fifth only
    when there is a file of the name in GO_ON, and the tenth never. Both it says on stderr.
    """

    def __init__(self, url: str) -> None:
        self._slow, self._stuck = map(int, url.split(","))
        self._batches = 0

    def infer(self, model: str, inputs: Tensors, **_: Any) -> Exchange:
        """Answer at once, but for trouble."""
        del model
        self._batches += 1
        if self._batches == self._slow:
            print(SLOW, file=sys.stderr, flush=True)
            until(Path(os.environ[GO_ON]).exists, "it may go on")
        if self._batches == self._stuck:
            stick()
        now = time.monotonic_ns()
        embedding = np.zeros((len(inputs["input"]), 192), np.float32)
        colours = inputs["input"][:, :, 0, 0]
        if (colours == (1, -1, -1)).all(axis=1).any():
            raise EngineError("I do not like red")
        embedding[:, :3], embedding[:, 3] = colours, 1
        return Exchange({"embedding": embedding}, now, now, now, now, 0, 0)

    def close(self) -> None:
        """Do nothing."""


RED = bytes((255, 0, 0))


def tiny_crop(number: int) -> bytes:
    """A crop of one pixel that Colours tells from all others."""
    return number.to_bytes(3, "big")


def number_of(answer: bytes) -> int:
    """The number of the crop that Colours gave the answer about."""
    embedding = np.frombuffer(answer, np.float32)
    colour = np.rint((embedding[:3] / embedding[3] + 1) / 2 * 255).astype(np.uint8)
    return int.from_bytes(colour.tobytes(), "big")


def work(takeover_s: str) -> None:
    """Be a worker, of crops of one pixel where they are for Colours."""
    TRANSPORTS.update({NO_ANSWER: "chains:NoAnswer", COLOURS: "chains:Colours"})
    from pipelines import brokers, worker

    if COLOURS in " ".join(sys.argv):
        faces = tasks.chain("faces")
        tiny = dataclasses.replace(faces.second.input, width=1, height=1)
        chain = dataclasses.replace(faces, second=dataclasses.replace(faces.second, input=tiny))
        tasks.chain = lambda _: chain
    worker.broker = functools.partial(brokers.broker, takeover_s=float(takeover_s))
    worker.command()


if __name__ == "__main__":
    work(sys.argv.pop(1))
