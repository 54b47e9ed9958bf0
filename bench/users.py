"""The Locust side of the load: the user, the options, and the run's begin and end.

Closed loop: each user's next request is due the moment the last one ended, so whatever the generator
needs in between is on the record, as the stage `schedule`.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NoReturn

import gevent.monkey
from locust import User, constant, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from bench.durations import seconds
from bench.images import ImageSet, images_of
from bench.record import Recorder
from bench.results import RESULTS, Settings
from bench.session import Session
from pipelines import server as embedded
from pipelines.classification import PIPELINES, PLACES
from pipelines.engine import TRANSPORTS, EngineError, engine
from pipelines.errors import VisiontaxError
from pipelines.preprocess import WAYS

DEFAULT_HOST = "http://127.0.0.1:8000"


@events.init_command_line_parser.add_listener
def add_options(parser: argparse.ArgumentParser, **_: Any) -> None:
    """Add what Locust has no option of its own for, under the names of `bench run`."""
    group = parser.add_argument_group("visiontax")
    group.add_argument("--pipeline", default="classification", choices=sorted(PIPELINES))
    group.add_argument("--images", default="medium", help="small, medium, large or a folder")
    group.add_argument("--preprocess", default="opencv", choices=sorted(WAYS))
    group.add_argument("--place", default="server", choices=PLACES)
    group.add_argument("--transport", default="http", choices=sorted(TRANSPORTS))
    group.add_argument("--warmup", default="2s", help="how long not to measure at first")
    group.add_argument("--results", default=str(RESULTS), help="where the run's folder goes")
    group.add_argument("--seed", type=int, default=1, help="of the order of the images")
    group.add_argument("--grpc-port", type=int, default=0, help="default: HTTP's plus one")
    group.add_argument(
        "--start-server", action="store_true", help="start the embedded Triton for this run"
    )
    group.add_argument("--run-folder", default="", help=argparse.SUPPRESS)
    group.add_argument("--no-record", action="store_true", help=argparse.SUPPRESS)


class _Run:
    """What this generator process holds while a run goes on."""

    def __init__(self) -> None:
        self.server: embedded.Server | None = None
        self.session: Session | None = None
        self.recorder: Recorder | None = None
        self.window_start_ns = 0
        self.completed = 0
        self.broken = False


_run = _Run()
_images: dict[str, list[bytes]] = {}


def _die(error: VisiontaxError) -> NoReturn:
    """Say cause and cure and end this process with exit code 1."""
    print(f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
    if _run.server:
        _run.server.stop()
    sys.stderr.flush()
    os._exit(1)


def _address(environment: Environment) -> str | None:
    """The server's HTTP address, host:port; for the fake engine its service time, if given."""
    host = environment.host
    if environment.parsed_options.transport == "fake":
        return host
    return (host or DEFAULT_HOST).removeprefix("http://").rstrip("/")


def _engine_url(environment: Environment) -> str:
    address, options = _address(environment) or "", environment.parsed_options
    if options.transport != "grpc":
        return address
    host, _, port = address.rpartition(":")
    return f"{host}:{options.grpc_port or int(port) + 1}"


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Check everything that can be checked before the first request."""
    options = environment.parsed_options
    if options is None:
        return
    if options.transport == "grpc" and gevent.monkey.is_module_patched("socket"):
        from grpc.experimental import gevent as grpc_gevent

        grpc_gevent.init_gevent()
    if isinstance(runner, WorkerRunner):
        return
    try:
        seconds(options.warmup)
        images = images_of(options.images)
        if options.start_server:
            folder = embedded.BUILD / "serve" / f"locust-{os.getpid()}"
            _run.server = embedded.start(folder)
            _run.server.wait_ready()
            environment.host = f"http://{_run.server.url}"
            options.host = environment.host
        address = _address(environment)
        if options.transport != "fake" and not embedded.is_ready(address or ""):
            raise EngineError(
                f"Triton is not ready at {address}",
                hint="is 'bench serve' running? or let --start-server start one",
            )
        if options.headless:  # the run time counts from now on: be ready when it starts
            _load(images, spec=options.images)
            _run.session = _open_session(environment, images)
    except VisiontaxError as error:
        _die(error)


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Open the run's folder; the master tells its workers where it is."""
    options, runner = environment.parsed_options, environment.runner
    try:
        images = images_of(options.images)
        _load(images, spec=options.images)
        if not isinstance(runner, WorkerRunner):
            _run.session = _run.session or _open_session(environment, images)
            options.run_folder = str(_run.session.folder)
            options.window_start_ns = _run.session.open_window()
        _run.window_start_ns, _run.completed = options.window_start_ns, 0
        if not isinstance(runner, MasterRunner) and not options.no_record:
            _run.recorder = Recorder(
                Path(options.run_folder), pipeline=options.pipeline, failed=_disk_failed
            )
    except VisiontaxError as error:
        _die(error)


def _open_session(environment: Environment, images: ImageSet) -> Session:
    options = environment.parsed_options
    users = environment.runner.target_user_count if environment.runner else 0
    settings = Settings(
        pipeline=options.pipeline,
        images=options.images,
        preprocess=options.preprocess,
        place=options.place,
        transport=options.transport,
        users=users or options.num_users or 1,
        warmup_s=seconds(options.warmup),
        server=_address(environment),
        seed=options.seed,
    )
    return Session(
        settings,
        images=images,
        results=Path(options.results),
        folder=Path(options.run_folder) if options.run_folder else None,
        recorded=not options.no_record,
    )


def _load(images: ImageSet, *, spec: str) -> None:
    """Read the images now, so that no request waits for the disk."""
    if spec not in _images:
        _images.clear()
        _images[spec] = [path.read_bytes() for path in images.paths]


def _disk_failed(error: OSError) -> None:
    if not _run.broken:
        _run.broken = True
        logging.getLogger(__name__).error(
            "the records cannot be written: %s; free some space and run again", error
        )


@events.test_stopping.add_listener
def stop_measuring(**_: Any) -> None:
    """Requests that are due from now on do not count."""
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
        session.finish(completed=_run.completed)
        environment.parsed_options.run_folder = ""
        print(f"run: {session.folder}", file=sys.stderr, flush=True)
    if _run.broken:
        environment.process_exit_code = 1


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
        options = self.environment.parsed_options
        self._name = f"{options.preprocess}@{options.place}"
        self._transport = options.transport
        self._prefix = uuid.uuid4().hex[:12]
        self._number = itertools.count()
        order = list(_images[options.images])
        random.Random(f"{options.seed}/{next(self._numbers)}").shuffle(order)
        self._order = itertools.cycle(order)
        self._pipeline = PIPELINES[options.pipeline](
            engine(options.transport, _engine_url(self.environment)),
            way=options.preprocess,
            place=options.place,
        )
        self._due_ns = time.monotonic_ns()

    def on_stop(self) -> None:
        """Disconnect."""
        self._pipeline.close()

    @task
    def ask(self) -> None:
        """Send one image and record what came of it."""
        image = next(self._order)
        request_id = f"{self._prefix}-{next(self._number)}"
        outcome, error = None, None
        start_ns = time.monotonic_ns()
        try:
            outcome = self._pipeline(image, request_id=request_id)
        except VisiontaxError as raised:
            error = raised
        end_ns = time.monotonic_ns()
        due_ns, self._due_ns = self._due_ns, end_ns
        if start_ns >= _run.window_start_ns and error is None:
            _run.completed += 1
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
        if error is not None:
            gevent.sleep(0.05)  # a dead server must not turn users into a busy loop
