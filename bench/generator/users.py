"""The Locust side of the load: the user, the options, and the run's begin and end.

Closed loop: each user's next request is due the moment the last one ended, so whatever the
generator needs in between is on the record, as the stage `schedule`.
"""

from __future__ import annotations

import argparse
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

from bench.generator.options import Options, add_options, options_of, tell
from bench.generator.recorder import Recorder
from bench.generator.session import Session
from bench.generator.turns import Turns
from bench.prepare.images.sets import ImageSet, images_of
from pipelines import paths
from pipelines.errors import EngineError, ServerError, VisiontaxError
from pipelines.servers import control, malloc, triton
from pipelines.topologies import choose

STOP_TIMEOUT_S = 30.0
LINGER_S = 0.5
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
        self.turns = Turns()
        self.opened = False
        self.ends_ns = array("q")
        self.broken = False
        self.refused: Runner | None = None


_run = _Run()
_images: dict[str, list[bytes]] = {}


def _die(error: VisiontaxError) -> NoReturn:
    """Say cause and cure and end this process with exit code 1."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    if _run.server:
        _run.server.stop()
    sys.stderr.flush()
    os._exit(1)


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Check everything that can be checked before the first request."""
    if environment.parsed_options is None:
        return
    options = options_of(environment)
    if options.transport == "grpc" and gevent.monkey.is_module_patched("socket"):
        from grpc.experimental import gevent as grpc_gevent

        grpc_gevent.init_gevent()
    if isinstance(runner, WorkerRunner):
        return
    if isinstance(runner, LocalRunner):
        # Else Locust would cut off the requests in flight at the end, of which most are slow ones.
        environment.stop_timeout = environment.stop_timeout or STOP_TIMEOUT_S
    try:
        options.check()
        images = images_of(options.images)
        if options.start_server:
            _run.server = triton.start(paths.BUILD / "serve" / f"locust-{os.getpid()}")
            _run.server.wait_ready()
            environment.host = options.host = _run.server.url
        if options.transport != "fake" and not control.is_ready(options.server or ""):
            raise ServerError(
                f"Triton is not ready at {options.server}",
                hint="is 'bench serve' running? or let --start-server start one",
            )
        _ask_for_models(options)
        if options.headless:  # the run time counts from now on: be ready when it starts
            _load(images, spec=options.images)
            _run.session = _open_session(options, images, users=options.num_users or 1)
    except VisiontaxError as error:
        _die(error)


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Open the run's folder; the master tells its workers where it is."""
    options, runner = options_of(environment), environment.runner
    try:
        images = images_of(options.images)
        _load(images, spec=options.images)
        options.check()
        if not isinstance(runner, WorkerRunner):
            _ask_for_models(options)  # the web page may have changed what is to be run
            users = runner.target_user_count if runner else 0
            _run.session = _run.session or _open_session(options, images, users=users)
            _run.opened = not options.paused
            if _run.opened:
                _run.session.open_window()
            tell(environment, folder=_run.session.folder)
            options = options_of(environment)
        _run.ends_ns = array("q")
        if not isinstance(runner, MasterRunner) and not options.no_record:
            _run.recorder = Recorder(
                Path(options.run_folder), pipeline=options.pipeline, failed=_disk_failed
            )
        folder = Path(options.run_folder) if options.run_folder else None
        _run.turns = Turns(folder, paused=options.paused, rested=_write)
    except VisiontaxError as error:
        if options.headless:
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


def _ask_for_models(options: Options) -> None:
    if options.transport not in ("fake", "plain"):
        control.load(options.server or "", choose.models(options.setup))


def _open_session(options: Options, images: ImageSet, *, users: int) -> Session:
    return Session(
        options.settings(users=users),
        images=images,
        results=Path(options.results),
        folder=Path(options.run_folder) if options.run_folder else None,
        recorded=not options.no_record,
        repository=Path(options.repository),
    )


def _load(images: ImageSet, *, spec: str) -> None:
    """Read the images now, so that no request waits for the disk."""
    if spec not in _images:
        _images.clear()
        _images[spec] = [path.read_bytes() for path in images.paths]


def _disk_failed(error: OSError) -> None:
    if not _run.broken:
        _run.broken = True
        _log.error("the records cannot be written: %s; free some space and run again", error)


@events.test_stopping.add_listener
def stop_measuring(**_: Any) -> None:
    """Requests that are due from now on do not count."""
    _run.turns.end()
    if _run.session:
        _run.session.close_window()


@events.test_stop.add_listener
def end(environment: Environment, **_: Any) -> None:
    """Close the records; the last line says where they are."""
    if _run.recorder:
        _run.recorder.close()
        _run.recorder = None
    if _run.session:
        session, _run.session = _run.session, None
        distributed = isinstance(environment.runner, MasterRunner)
        if distributed:
            _await_workers(environment)
        session.finish(ends_ns=None if distributed else _run.ends_ns)
        tell(environment, folder=None)
        print(f"results: {session.folder}", file=sys.stderr, flush=True)
    if _run.broken:
        environment.process_exit_code = 1


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
        options = options_of(self.environment)
        self._name = f"{options.preprocess}@{options.place}"
        self._transport = options.chosen_topology or options.transport
        self._prefix = uuid.uuid4().hex[:12]
        self._number = itertools.count()
        order = list(_images[options.images])
        worker = getattr(self.environment.runner, "worker_index", 0)
        random.Random(f"{options.seed}/{worker}/{next(self._numbers)}").shuffle(order)
        self._order = itertools.cycle(order)
        self._pipeline = choose.pipeline(options.setup)
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
            gevent.sleep(0.05)  # a dead server must not turn users into a busy loop

    def _ask(self) -> Exception | None:
        image = next(self._order)
        request_id = f"{self._prefix}-{next(self._number)}"
        outcome = None
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
        if error is None:
            _run.ends_ns.append(end_ns)
        if _run.recorder:
            _run.recorder.add(
                request_id,
                outcome,
                due_ns=due_ns,
                start_ns=start_ns,
                end_ns=end_ns,
                error=None if error is None else str(error),
            )
        self.environment.events.request.fire(
            request_type=self._transport,
            name=self._name,
            response_time=(end_ns - due_ns) / 1e6,
            response_length=outcome.bytes_out if outcome else 0,
            exception=error,
            context={},
        )
        return error
