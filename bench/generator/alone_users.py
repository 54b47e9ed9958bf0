"""Users who ask a DNN with a ready tensor, in one process: nothing is decoded, resized, normalized.

Closed loop, as the load of `bench run`. Started by `bench.runs.alone`; ends with SIGTERM or
Ctrl-C, when the requests in flight are answered.
"""

from __future__ import annotations

import itertools
import signal
import sys
import time
import uuid
from pathlib import Path

import gevent
import gevent.monkey
import msgspec
import numpy as np
from gevent.event import Event

from bench.generator.recorder import Recorder
from bench.record.scenario import Settings
from pipelines import tasks
from pipelines.engines.choose import endpoint, engine
from pipelines.engines.engine import Engine
from pipelines.errors import VisiontaxError
from pipelines.servers import malloc
from pipelines.tasks import Dnn
from pipelines.tasks.tensors import Tensors
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.steps import batched

gevent.monkey.patch_all()  # before anything else can take the blocking calls

STOP_TIMEOUT_S = 30.0
PAUSE_S = 0.05
"""After a failed request, so that a dead server does not turn users into a busy loop."""


def ready_tensor(dnn: Dnn) -> Tensors:
    """Return the DNN's input of one image, [1, 3, height, width]: noise, as normalized pixels."""
    shape = (1, 3, dnn.input.height, dnn.input.width)
    return {"input": np.random.default_rng(1).standard_normal(shape, np.float32)}


class Asker:
    """One user: asks again as soon as it has its answer, until told to stop."""

    def __init__(self, asked: Engine, dnn: Dnn, *, recorder: Recorder) -> None:
        self._engine, self._model, self._recorder = asked, dnn.model, recorder
        self._inputs, self._outputs = ready_tensor(dnn), batched(dnn, 1)
        self._prefix, self._number = uuid.uuid4().hex[:12], itertools.count()

    def ask(self) -> tuple[str, Outcome]:
        """Ask once. Raises EngineError in the server's own words when it fails."""
        name = self._next_id()
        return name, self._outcome(name)

    def run(self, stopping: Event) -> None:
        """Ask until `stopping` is set, and record every request."""
        due_ns = time.monotonic_ns()
        while not stopping.is_set():
            name, outcome, error = self._next_id(), None, None
            start_ns = time.monotonic_ns()
            try:
                outcome = self._outcome(name)
            except VisiontaxError as raised:
                error = str(raised)
            end_ns = time.monotonic_ns()
            self._recorder.add(
                name, outcome, due_ns=due_ns, start_ns=start_ns, end_ns=end_ns, error=error
            )
            due_ns = end_ns
            if error is not None:
                gevent.sleep(PAUSE_S)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._number)}"

    def _outcome(self, name: str) -> Outcome:
        outcome = Outcome(None)
        exchange = self._engine.infer(
            self._model, self._inputs, outputs=self._outputs, request_id=name
        )
        outcome.add(exchange, id=name, where="client")
        return outcome


def run(settings: Settings, folder: Path, *, users: int) -> None:
    """Ask with so many users, recording into `folder`, until SIGTERM or Ctrl-C.

    Says `ready` on stdout when each was answered once. Raises VisiontaxError when one was not.
    """
    malloc.keep_freed()
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopping.set)
    if settings.transport == "grpc":
        from grpc.experimental import gevent as grpc_gevent

        grpc_gevent.init_gevent()
    url = endpoint(settings.transport, settings.server or "")
    dnn = tasks.task(settings.pipeline).dnn
    recorder = Recorder(folder, pipeline=settings.pipeline, failed=_disk_failed)
    askers = [Asker(engine(settings.transport, url), dnn, recorder=recorder) for _ in range(users)]
    try:
        gevent.joinall([gevent.spawn(asker.ask) for asker in askers], raise_error=True)
        print("ready", flush=True)
        running = [gevent.spawn(asker.run, stopping) for asker in askers]
        stopping.wait()
        gevent.joinall(running, timeout=STOP_TIMEOUT_S)
    finally:
        recorder.close()
        for asker in askers:
            asker.close()


def _disk_failed(error: OSError) -> None:
    print(f"warning: the records cannot be written: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        run(
            msgspec.json.decode(sys.argv[1], type=Settings),
            Path(sys.argv[2]),
            users=int(sys.argv[3]),
        )
    except VisiontaxError as raised:
        print(f"error: {raised}\nhint: {raised.hint}", file=sys.stderr, flush=True)
        sys.exit(1)
