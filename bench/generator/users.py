"""The Locust side of the load: the user, the options, and the run's begin and end.

Closed loop: each user's next request is due the moment the last one ended, or a pause after one
that failed, so whatever the generator needs in between is on the record, as the stage `schedule`.
"""

import argparse
import contextlib
import functools
import itertools
import logging
import os
import random
import signal
import sys
import time
import uuid
from array import array
from pathlib import Path
from typing import Any, NoReturn

import gevent.monkey
from locust import User, constant, events, task
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, Runner, WorkerRunner

from bench.generator.in_flight import InFlight
from bench.generator.options import add_options, spec_of, tell
from bench.generator.recorder import Finished, Recorder
from bench.generator.session import Session
from bench.generator.turns import Turns
from bench.ledger.units import clean
from bench.prepare.images.sets import ImageSet, images_of
from bench.record.records import Image
from bench.record.scenario import TENSOR, Settings
from pipelines import paths, tasks
from pipelines.errors import (
    DEAD_MODEL,
    EngineError,
    ResultsError,
    ServerError,
    VisiontaxError,
    complaint,
)
from pipelines.servers import control, malloc, triton
from pipelines.topologies import choose
from pipelines.topologies.outcome import Outcome

STOP_TIMEOUT_S = 30.0
LINGER_S = 0.5
PAUSE_S = 0.05
"""How long a user waits after an error; its next request is due only then."""

LEAVE_S = 0.01
"""How long a user whose run is over waits for Locust to end it."""

_log = logging.getLogger(__name__)


malloc.keep_freed()


@events.init_command_line_parser.add_listener
def parse(parser: argparse.ArgumentParser, **_: Any) -> None:
    """Let Locust know our options."""
    add_options(parser)


class _Run:
    """What this generator process holds while a run goes on."""

    def __init__(self) -> None:
        self.server: triton.Server | None = None
        self.session: Session | None = None
        self.recorder: Recorder | None = None
        self.in_flight: InFlight | None = None
        self.turns = Turns()
        self.opened = False
        self.ends_ns = array("q")
        self.broken = 0
        """The exit code of a load that had to end, 0 of one that had not."""
        self.refused: Runner | None = None


_run = _Run()
_images: dict[str, list[bytes]] = {}


def _die(error: VisiontaxError) -> NoReturn:
    """Say cause and cure and end this process with exit code 1."""
    print(complaint(error), file=sys.stderr, flush=True)
    if _run.server:
        _run.server.stop()
    os._exit(1)


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Check everything that can be checked before the first request."""
    if environment.parsed_options is None:
        return
    try:
        spec = spec_of(environment)
    except VisiontaxError as error:
        _die(error)
    asked = spec.scenario
    if asked.transport == "grpc" and gevent.monkey.is_module_patched("socket"):
        from grpc.experimental import gevent as grpc_gevent

        grpc_gevent.init_gevent()
    if isinstance(runner, WorkerRunner):
        return
    if isinstance(runner, LocalRunner):
        # Else Locust would cut off the requests in flight at the end, of which most are slow ones.
        environment.stop_timeout = environment.stop_timeout or STOP_TIMEOUT_S
    try:
        asked.check()
        asked.check_broker()
        images = _images_of(asked)
        if environment.parsed_options.start_server:
            _run.server = triton.start(paths.BUILD / "serve" / f"locust-{os.getpid()}")
            _run.server.wait_ready()
            environment.host = _run.server.url
            spec = spec_of(environment)
            asked = spec.scenario
        if asked.transport != "fake":
            start = "is 'bench serve' running? or let --start-server start one"
            control.check_ready(asked.server or "", hint=start)
        _ask_for_models(asked)
        _ask_once(asked, images)
        if images.left_out and not spec.folder:  # else who gave the folder has said it
            print(f"warning: {clean(images.left_out)}", file=sys.stderr, flush=True)
        if environment.parsed_options.headless:  # the run time counts from now on: be ready
            _load(images)
            _run.session = Session(spec, images=images, users=asked.users)
    except VisiontaxError as error:
        _die(error)


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Open the run's folder; the master tells its workers where it is."""
    runner = environment.runner
    try:
        spec = spec_of(environment)
        asked = spec.scenario
        images = _images_of(asked)
        _load(images)
        asked.check()
        asked.check_broker()
        if not isinstance(runner, WorkerRunner):
            _ask_for_models(asked)  # the web page may have changed what is to be run
            users = runner.target_user_count if runner else 0
            _run.session = _run.session or Session(spec, images=images, users=users)
            _run.opened = not spec.paused
            if _run.opened:
                _run.session.open_window()
            tell(environment, folder=_run.session.folder)
            spec = spec_of(environment)
        _run.ends_ns = array("q")
        if not isinstance(runner, MasterRunner) and spec.recorded:
            _run.recorder = Recorder(
                Path(spec.folder),
                pipeline=asked.pipeline,
                failed=functools.partial(_disk_failed, environment),
            )
        folder = Path(spec.folder) if spec.folder else None
        if folder and not isinstance(runner, MasterRunner):
            _run.in_flight = InFlight(folder)
        _run.turns = Turns(folder, paused=spec.paused, rested=_write)
    except VisiontaxError as error:
        if environment.parsed_options and environment.parsed_options.headless:
            _die(error)
        _log.error("%s; %s", error, error.hint or "change what is to be run")
        _run.refused = runner  # and the page may be asked for another run


@events.spawning_complete.add_listener
def give_up(**_: Any) -> None:
    """End a run that could not begin; before its users are there, Locust would lose count."""
    refused, _run.refused = _run.refused, None
    if refused and not isinstance(refused, WorkerRunner):
        gevent.spawn(refused.stop)
    if not _run.turns.running:
        _run.turns.say()


@events.init.add_listener
def listen(**_: Any) -> None:
    """SIGUSR1 pauses and resumes the recording, SIGUSR2 all of the load."""
    gevent.signal_handler(signal.SIGUSR1, _toggle)
    gevent.signal_handler(signal.SIGUSR2, _take_turns)


def _toggle() -> None:
    if _run.recorder:
        _run.recorder.paused = not _run.recorder.paused


def _take_turns() -> None:
    if _run.session and not _run.opened:  # the load starts only now, and so does its warm-up
        _run.opened = True
        _run.session.open_window()
    _run.turns.toggle()


def _write() -> None:
    if _run.recorder:
        _run.recorder.write()


def _ask_for_models(asked: Settings) -> None:
    if asked.traced:
        control.load(asked.server or "", choose.models(asked))


def _ask_once(asked: Settings, images: ImageSet) -> None:
    """Raise ServerError when Triton cannot be asked in this way: then the load could only fail."""
    if asked.traced and not asked.broker and images.paths:
        with contextlib.closing(choose.pipeline(asked)) as ask:
            try:
                ask(images.paths[0].read_bytes(), request_id="first")
            except EngineError as error:
                raise ServerError(
                    f"Triton does not answer a first request over {asked.transport}: {error}",
                    hint="its log says more; gRPC listens on --grpc-port, and tensors in shared "
                    "memory want a server on this host",
                ) from error


def _images_of(asked: Settings) -> ImageSet:
    """The images that are asked with; of inference alone the ready tensor stands in their place."""
    if not asked.alone:
        return images_of(asked.images, preprocess=asked.preprocess)
    wanted = tasks.task(asked.pipeline).dnn.input
    bytes_ = 3 * wanted.height * wanted.width * 4
    return ImageSet(TENSOR, [], [Image(TENSOR, TENSOR, wanted.width, wanted.height, bytes_)])


def _load(images: ImageSet) -> None:
    """Read the images now, so that no request waits for the disk."""
    if images.name not in _images:
        _images.clear()
        _images[images.name] = [path.read_bytes() for path in images.paths] or [b""]


def _disk_failed(environment: Environment, error: OSError | ResultsError) -> None:
    said = f"the records cannot be written: {getattr(error, 'strerror', error)}"
    _break(environment, ResultsError(said, hint="free some space and run again"), code=os.EX_IOERR)


def _server_died(environment: Environment, error: Exception) -> None:
    """End the run: Triton starts a model's process no more, and each request to it takes long."""
    said = f"a process of Triton has died: {error}"
    _break(environment, ServerError(said, hint="its log says why; start it again"))


def _break(environment: Environment, error: VisiontaxError, *, code: int = 1) -> None:
    """End a run of which there is nothing more to be had."""
    if not _run.broken:
        _run.broken = code
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            print(complaint(error), file=sys.stderr, flush=True)
        if isinstance(environment.runner, LocalRunner):
            headless = environment.parsed_options and environment.parsed_options.headless
            gevent.spawn(environment.runner.quit if headless else environment.runner.stop)


@events.test_stopping.add_listener
def stop_measuring(**_: Any) -> None:
    """Requests that are due from now on do not count."""
    _run.turns.end()
    if _run.session:
        if _run.broken:  # what went wrong last counts too
            _run.session.close_window(cooldown_ns=0)
        else:
            _run.session.close_window()


@events.test_stop.add_listener
def end(environment: Environment, **_: Any) -> None:
    """Close the records; the last line says where they are."""
    if _run.recorder:
        _run.recorder.close()
        _run.recorder = None
    if _run.in_flight:
        _run.in_flight.close()
        _run.in_flight = None
    if _run.session:
        session, _run.session = _run.session, None
        distributed = isinstance(environment.runner, MasterRunner)
        if distributed:
            _await_workers(environment)
        try:
            session.finish(ends_ns=None if distributed else _run.ends_ns)
        except ResultsError as error:
            _disk_failed(environment, error)
        tell(environment, folder=None)
        print(f"results: {session.folder}", file=sys.stderr, flush=True)
    if _run.broken:
        environment.process_exit_code = _run.broken


def _await_workers(environment: Environment) -> None:
    """Let requests that were due in the window end before the server's tracing does.

    A master is told to stop before its workers are, and its workers' requests are its own no more.
    """
    slowest_s = environment.stats.total.max_response_time / 1e3
    gevent.sleep(min(slowest_s + LINGER_S, STOP_TIMEOUT_S))


@events.quit.add_listener
def stop_server(**_: Any) -> None:
    """Stop the server if this process started it."""
    if _run.server:
        _run.server.stop()


class VisionUser(User):
    """Sends one image after the other, in an order of its own, and waits for each answer."""

    wait_time = constant(0)
    _numbers = itertools.count()

    def on_start(self) -> None:
        """Connect."""
        asked = spec_of(self.environment).scenario
        self._name = f"{asked.preprocess}@{asked.place}"
        self._transport = asked.topology or asked.transport
        self._prefix = uuid.uuid4().hex[:12]
        self._number = itertools.count()
        order = list(enumerate(_images[asked.images]))
        worker = getattr(self.environment.runner, "worker_index", 0)
        self._user = next(self._numbers)
        random.Random(f"{asked.seed}/{worker}/{self._user}").shuffle(order)
        self._order = itertools.cycle(order)
        self._pipeline = choose.pipeline(asked)
        self._due_ns = time.monotonic_ns()

    def on_stop(self) -> None:
        """Disconnect."""
        self._pipeline.close()

    @task
    def ask(self) -> None:
        """Send one image and record what came of it, once it is this load's turn."""
        turns = _run.turns
        if not turns.running:
            if not turns.wait():
                gevent.sleep(LEAVE_S)
                return
            self._due_ns = turns.since_ns  # nobody was to ask while the load was paused
        turns.enter()
        try:
            error = self._ask()
        finally:
            turns.leave()
        if error is not None:
            if DEAD_MODEL in str(error):
                _server_died(self.environment, error)
            gevent.sleep(PAUSE_S)  # a dead server must not turn users into a busy loop
            self._due_ns = time.monotonic_ns()

    def _ask(self) -> Exception | None:
        number, image = next(self._order)
        if _run.in_flight:
            _run.in_flight.set(self._user, number)
        request_id = f"{self._prefix}-{next(self._number)}"
        outcome = Outcome(None)
        error: Exception | None = None
        start_ns = time.monotonic_ns()
        try:
            outcome = self._pipeline(image, request_id=request_id)
        except VisiontaxError as raised:
            error = raised
        except Exception as raised:  # nobody foresaw it, but it took its time: it is on the record
            error = EngineError(f"{type(raised).__name__}: {raised}")
        end_ns = time.monotonic_ns()
        due_ns, self._due_ns = self._due_ns, end_ns
        if _run.in_flight:
            _run.in_flight.set(self._user, None)
        if error is None:
            _run.ends_ns.append(end_ns)
        if _run.recorder:
            said = None if error is None else str(error)
            times = (due_ns, start_ns, end_ns)
            _run.recorder.add(Finished(request_id, outcome, *times, said, number))
        self.environment.events.request.fire(
            request_type=self._transport,
            name=self._name,
            response_time=(end_ns - due_ns) / 1e6,
            response_length=outcome.bytes_out,
            exception=error,
            context={},
        )
        return error
