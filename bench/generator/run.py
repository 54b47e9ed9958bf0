"""The Locust side of a run: the options, what is checked before it, and its begin."""

import argparse
import functools
import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gevent.monkey
import msgspec
from locust import events
from locust.env import Environment
from locust.runners import (
    STATE_RUNNING,
    STATE_SPAWNING,
    LocalRunner,
    MasterRunner,
    WorkerRunner,
)

from bench.generator.dispatcher import Dispatcher
from bench.generator.options import add_options, clock_of, parts_of, spec_of, tell
from bench.generator.recorder import Finished, Recorder
from bench.generator.schedules.pictures import scheduled
from bench.generator.schedules.schedule import Due
from bench.generator.session import Session
from bench.generator.steering import live, page
from bench.generator.steering.division import MESSAGE, Division, Told, parts_of_clients, told
from bench.generator.steering.ending import STOP_TIMEOUT_S, disk_failed
from bench.generator.steering.going import going
from bench.generator.steering.readiness import (
    ask_for_models,
    ask_once,
    check,
    let_grpc_wait,
    spare_collector,
)
from bench.generator.steering.run_time import RunTime
from bench.generator.steering.spawning import at_once, held, shape_of
from bench.generator.turns import Turns
from bench.generator.watching import away
from bench.generator.watching.away import Away, told_time
from bench.generator.watching.in_flight import InFlight
from bench.ledger.units import clean
from bench.prepare.images.sets import ImageSet
from bench.record.hosts import folder_of
from bench.record.records import DROPPED
from bench.record.scenario import Settings, entries
from pipelines import paths
from pipelines.errors import EngineError, VisiontaxError, complaint
from pipelines.processes import owner
from pipelines.servers import control, malloc, triton
from pipelines.topologies.outcome import Outcome

BEGUN = "visiontax-begun"
"""A worker's message: its users of a closed loop begin now."""

_log = logging.getLogger(__name__)

malloc.keep_freed()
live.sharpen()


@events.init_command_line_parser.add_listener
def parse(parser: argparse.ArgumentParser, **_: Any) -> None:
    """Let Locust know our options."""
    add_options(parser)


def _die(error: VisiontaxError) -> NoReturn:
    """Say cause and cure and end this process with exit code 1."""
    print(complaint(error), file=sys.stderr, flush=True)
    if going.server:
        going.server.stop()
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
    if asked.transport == "grpc":
        let_grpc_wait()
    environment.dispatcher_class = at_once(lambda: going.open)
    if isinstance(runner, WorkerRunner):
        runner.register_message(MESSAGE, _divide)
        runner.register_message(away.MESSAGE, _told_time)
        going.results = Path(spec.results)
        return
    if isinstance(runner, MasterRunner):
        runner.register_message(BEGUN, _worker_begun)
        runner.register_message(away.MESSAGE, _tell_time)
    if isinstance(runner, LocalRunner):
        # Else Locust would cut off the requests in flight at the end, of which most are slow ones.
        environment.stop_timeout = environment.stop_timeout or STOP_TIMEOUT_S
    try:
        images = check(environment, asked)
        if environment.parsed_options.start_server:
            going.server = triton.start(paths.BUILD / "serve" / f"locust-{os.getpid()}")
            going.server.wait_ready()
            environment.host = going.server.url
            spec = spec_of(environment)
            asked = spec.scenario
        if not asked.serverless:
            start = "is 'bench serve' running? or let --start-server start one"
            control.check_ready(asked.server or "", hint=start)
        ask_for_models(spec)
        ask_once(asked, images)
        if images.left_out and not spec.folder:  # else who gave the folder has said it
            print(f"warning: {clean(images.left_out)}", file=sys.stderr, flush=True)
        if environment.parsed_options.headless and not environment.shape_class:
            _load(images)
            going.session = Session(spec, images=images, users=asked.users)
    except VisiontaxError as error:
        _die(error)
    going.run_time = RunTime(environment)
    if environment.web_ui:
        page.guard(environment.web_ui, functools.partial(_look_at_fields, environment))


def _look_at_fields(environment: Environment, fields: Mapping[str, str]) -> None:
    """Raise VisiontaxError when the web page's fields ask for what cannot be run."""
    runner = environment.runner
    asked = spec_of(environment, fields).scenario
    check(environment, asked)
    now = going.asked if runner and runner.state in (STATE_SPAWNING, STATE_RUNNING) else None
    if now and msgspec.structs.replace(asked, users=now.users, device=now.device) != now:
        raise VisiontaxError("a run goes on", hint="stop it before you ask for another one")


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Open the run's folder; the master tells its workers where it is."""
    if going.run_time:
        going.run_time.take()
    going.begun, going.dispatcher = False, None
    try:
        with held(environment):
            _begin(environment)
    except VisiontaxError as error:
        if environment.parsed_options and environment.parsed_options.headless:
            _die(error)
        _log.error("%s; %s", error, error.hint or "change what is to be run")
        going.turns = Turns(paused=True)  # nobody asks until Locust has ended this
        going.asked, going.refused = None, environment.runner  # and the page may ask for another


def _begin(environment: Environment) -> None:
    runner = environment.runner
    spec = spec_of(environment)
    asked = going.asked = spec.scenario
    if asked.transport == "grpc":  # a worker is told so only now, and by the page anybody
        let_grpc_wait()
    images = check(environment, asked)
    _load(images)
    spare_collector()
    if not isinstance(runner, WorkerRunner):
        ask_for_models(spec)  # the web page may have changed what is to be run
        users, shape = runner.target_user_count if runner else 0, shape_of(environment)
        going.session = going.session or Session(spec, images=images, users=users, shape=shape)
        going.opened = not spec.paused
        parts = parts_of_clients(runner) if isinstance(runner, MasterRunner) else None
        session = going.session
        tell(environment, folder=session.folder, clock=session.clock, parts=parts)
        spec = spec_of(environment)
    if not spec.folder:
        raise VisiontaxError("the master has begun no run", hint="its log says why")
    folder = Path(spec.folder)
    if not isinstance(runner, MasterRunner):
        folder = _record(environment, folder)
    going.turns = Turns(folder, paused=spec.paused, rested=_write)
    going.open, going.runner, going.told = asked.open, runner, Told(0, 1)
    if isinstance(runner, MasterRunner):
        return
    _dispatch(environment, asked, images)
    if isinstance(runner, WorkerRunner):
        parts = parts_of(environment)
        part = parts.get(runner.worker_index)
        going.told = None if part is None else Told(part, len(parts))
        if not asked.open:
            runner.send_message(BEGUN)
    elif not asked.open:
        _begin_load(time.monotonic_ns())


def _record(environment: Environment, folder: Path) -> Path:
    """Open this process's records, in the run's folder or one of its own, and return that one."""
    name, runner = str(os.getpid()), environment.runner
    if isinstance(runner, WorkerRunner):
        run, clock = folder, clock_of(environment)
        folder = folder_of(run, clock, results=going.results)
        if folder != run:
            name, going.away = owner(), Away(runner, folder)
    failed = functools.partial(disk_failed, environment)
    going.recorder = Recorder(folder / f"requests-{name}.jsonl", failed=failed)
    going.in_flight = InFlight(folder)
    return folder


def _dispatch(environment: Environment, asked: Settings, images: ImageSet) -> None:
    """Make ready what says of which request what is asked, and hands out those of an open loop."""
    worker = getattr(going.runner, "worker_index", 0)
    schedule, going.draw = scheduled(asked, images, worker=worker)
    going.numbers = itertools.count()
    if schedule is None:
        return
    going.dispatcher = Dispatcher(
        schedule,
        turns=going.turns,
        dropped=functools.partial(_dropped, environment, asked),
        late=asked.late,
        cameras=getattr(schedule, "cameras", 0),
        in_flight=going.in_flight,
    )


def _dropped(environment: Environment, asked: Settings, due: Due) -> None:
    """Put a request on the record that nobody sent."""
    assert going.draw
    pipeline, image = going.draw(due.number)
    if going.recorder:
        moments = (due.due_ns,) * 3
        name, nothing = f"dropped-{due.number}", Outcome(None)
        going.recorder.add(Finished(name, pipeline, nothing, *moments, DROPPED, image))
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        **entries(asked)[pipeline],
        response_time=None,  # it has none, and counts as a failure
        response_length=0,
        exception=EngineError(DROPPED),
        context={},
    )


def _worker_begun(**_: Any) -> None:
    """The master's: the first worker's users begin."""
    if not going.open and not going.begun:
        _begin_load(time.monotonic_ns())


def _begin_load(now_ns: int) -> None:
    """The first request is due now: the window opens after the warm-up, and the run time counts."""
    going.begun = True
    asked_s = going.run_time.begin() if going.run_time else None
    if going.opened and going.session:
        going.session.open_window(now_ns, run_time_s=asked_s)


@events.spawning_complete.add_listener
def go(**_: Any) -> None:
    """All users are there. A run that could not begin ends now; before, Locust would lose count."""
    refused, going.refused = going.refused, None
    if refused:
        if not isinstance(refused, WorkerRunner):
            gevent.spawn(refused.stop)
        return
    if not going.turns.running:
        going.turns.say()
    if isinstance(going.runner, MasterRunner) and not going.division:
        going.division = Division(going.runner, parts_of_clients(going.runner))
    if going.begun:
        return
    now_ns = time.monotonic_ns()
    if going.dispatcher and going.told and not going.dispatcher.begun:
        going.told.obey(going.dispatcher, now_ns=now_ns)
    _begin_load(now_ns)


def _divide(environment: Environment, msg: Any, **_: Any) -> None:
    """A worker's: take what the master says, or remember it until the load begins here."""
    assert isinstance(environment.runner, WorkerRunner)
    going.told = told(environment.runner, msg.data)
    if going.told and going.dispatcher and going.begun:
        going.told.obey(going.dispatcher, now_ns=time.monotonic_ns())


def _tell_time(environment: Environment, msg: Any, **_: Any) -> None:
    """A master's: a worker that records on another host asks for the time."""
    assert isinstance(environment.runner, MasterRunner)
    told_time(environment.runner, msg.data, to=msg.node_id)
    if going.session:
        going.session.recorded_by(msg.data["tag"])


def _told_time(msg: Any, **_: Any) -> None:
    """A worker's: the master has answered."""
    if going.away:
        going.away.answered(msg.data)


@events.init.add_listener
def listen(**_: Any) -> None:
    """SIGUSR1 pauses and resumes the recording, SIGUSR2 all of the load."""
    gevent.signal_handler(signal.SIGUSR1, _toggle)
    gevent.signal_handler(signal.SIGUSR2, _take_turns)


def _toggle() -> None:
    if going.recorder:
        going.recorder.paused = not going.recorder.paused


def _take_turns() -> None:
    if going.session and not going.opened:  # the load starts only now, and so does its warm-up
        going.opened = True
        going.session.open_window(time.monotonic_ns())
    going.turns.toggle()


def _write() -> None:
    if going.recorder:
        going.recorder.write()


def _load(images: ImageSet) -> None:
    """Read the images now, so that no request waits for the disk."""
    if images.paths != going.paths or not going.images:
        going.paths = images.paths
        going.images = [path.read_bytes() for path in images.paths] or [b""]


@events.heartbeat_sent.add_listener
def hear(client_id: str, **_: Any) -> None:
    """The master's, which answers each heartbeat of a worker."""
    if going.division:
        going.division.heard(client_id)
