"""The users that send the requests.

Closed loop: each user's next request is due the moment the last one ended, or a pause after one
that failed, so whatever the generator needs in between is on the record, as the stage `schedule`.
Open loop: a user sends what the dispatcher hands it.
"""

import itertools
import time
import uuid

import gevent
from locust import User, constant, task

from bench.generator import run  # noqa: F401  (its listeners hear of all that Locust does)
from bench.generator.dispatcher import Dispatcher
from bench.generator.options import DEFAULT_SERVER, spec_of
from bench.generator.recorder import Finished
from bench.generator.schedules.pictures import Draw
from bench.generator.steering.ending import server_died
from bench.generator.steering.going import going
from bench.record.scenario import entries, parts
from pipelines.errors import DEAD_MODEL, EngineError, VisiontaxError
from pipelines.topologies import choose
from pipelines.topologies.outcome import Outcome

PAUSE_S = 0.05
"""How long a user waits after an error; its next request is due only then."""

LEAVE_S = 0.01
"""How long a user whose run is over waits for Locust to end it."""


class VisionUser(User):
    """Sends one image after the other and waits for each answer."""

    host = DEFAULT_SERVER
    wait_time = constant(0)
    _numbers = itertools.count()

    def on_start(self) -> None:
        """Connect."""
        asked = going.asked or spec_of(self.environment).scenario
        self._entries = entries(asked)
        self._think_ns = round(asked.think_s * 1e9)
        self._prefix = uuid.uuid4().hex[:12]
        self._number = itertools.count()
        self._images = going.images
        self._user = next(self._numbers)
        self._pipelines = {name: choose.pipeline(part) for name, part in parts(asked).items()}
        self._due_ns = time.monotonic_ns()

    def on_stop(self) -> None:
        """Disconnect."""
        for pipeline in self._pipelines.values():
            pipeline.close()

    @task
    def ask(self) -> None:
        """Send an image when it is due, once it is this load's turn, and record what came of it."""
        if going.draw is None:  # the run could not begin
            gevent.sleep(LEAVE_S)
        elif going.dispatcher:
            self._ask_when_due(going.dispatcher, going.draw)
        else:
            self._ask_again(going.draw)

    def _ask_when_due(self, dispatcher: Dispatcher, draw: Draw) -> None:
        while due := dispatcher.take():
            going.turns.enter()
            try:
                error = self._ask(*draw(due.number), due.due_ns, queued_ns=due.queued_ns)
            finally:
                going.turns.leave()
            self._look_at(error)
            if not dispatcher.over:
                return
        gevent.sleep(LEAVE_S)  # Locust ends a user only between its tasks

    def _ask_again(self, draw: Draw) -> None:
        turns = going.turns
        if not turns.running:
            if not turns.wait():
                gevent.sleep(LEAVE_S)
                return
            self._due_ns = turns.since_ns  # nobody was to ask while the load was paused
        if self._think_ns:
            gevent.sleep(max(self._due_ns - time.monotonic_ns(), 0) / 1e9)
        turns.enter()
        if going.in_flight:
            going.in_flight.begin(self._due_ns)
        try:
            error = self._ask(*draw(next(going.numbers)), self._due_ns)
        finally:
            turns.leave()
        self._due_ns = self._ended_ns + self._think_ns
        self._look_at(error)
        if error is not None:
            gevent.sleep(PAUSE_S)  # a dead server must not turn users into a busy loop
            self._due_ns = time.monotonic_ns()

    def _look_at(self, error: Exception | None) -> None:
        if error is not None and DEAD_MODEL in str(error):
            server_died(self.environment, error)

    def _ask(
        self, pipeline: str, number: int, due_ns: int, *, queued_ns: int | None = None
    ) -> Exception | None:
        if going.in_flight:
            going.in_flight.set(self._user, number)
        request_id = f"{self._prefix}-{next(self._number)}"
        outcome = Outcome(None)
        error: Exception | None = None
        start_ns = time.monotonic_ns()
        try:
            outcome = self._pipelines[pipeline](self._images[number], request_id=request_id)
        except VisiontaxError as raised:
            error = raised
        except Exception as raised:  # nobody foresaw it, but it took its time: it is on the record
            error = EngineError(f"{type(raised).__name__}: {raised}")
        end_ns = self._ended_ns = time.monotonic_ns()
        if going.in_flight:
            going.in_flight.set(self._user, None)
            going.in_flight.end(end_ns)
        if going.recorder:
            said = None if error is None else str(error)
            times = (due_ns, start_ns, end_ns)
            done = Finished(request_id, pipeline, outcome, *times, said, number, queued_ns)
            going.recorder.add(done)
        self.environment.events.request.fire(
            **self._entries[pipeline],
            response_time=(end_ns - due_ns) / 1e6,
            response_length=outcome.bytes_out,
            exception=error,
            context={},
        )
        return error
