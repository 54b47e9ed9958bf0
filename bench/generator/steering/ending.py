"""How a run ends: what its listeners close, and what ends it before its time."""

import contextlib
import os
import sys
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from bench.generator.options import tell
from bench.generator.steering.going import going
from pipelines.errors import ResultsError, ServerError, VisiontaxError, complaint

STOP_TIMEOUT_S = 30.0
LINGER_S = 0.5


def disk_failed(environment: Environment, error: OSError | ResultsError) -> None:
    """End the run: nothing more can be recorded."""
    said = f"the records cannot be written: {getattr(error, 'strerror', error)}"
    _break(environment, ResultsError(said, hint="free some space and run again"), code=os.EX_IOERR)


def server_died(environment: Environment, error: Exception) -> None:
    """End the run: Triton starts a model's process no more, and each request to it takes long."""
    said = f"a process of Triton has died: {error}"
    _break(environment, ServerError(said, hint="its log says why; start it again"))


def _break(environment: Environment, error: VisiontaxError, *, code: int = 1) -> None:
    """End a run of which there is nothing more to be had."""
    if not going.broken:
        going.broken = code
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            print(complaint(error), file=sys.stderr, flush=True)
        if isinstance(environment.runner, LocalRunner):
            headless = environment.parsed_options and environment.parsed_options.headless
            gevent.spawn(environment.runner.quit if headless else environment.runner.stop)


@events.test_stopping.add_listener
def stop_measuring(**_: Any) -> None:
    """Requests that are due from now on do not count."""
    going.turns.end()
    if going.dispatcher:
        going.dispatcher.end()
    if going.session:
        if going.broken:  # what went wrong last counts too
            going.session.close_window(cooldown_ns=0)
        else:
            going.session.close_window()


@events.test_stop.add_listener
def end(environment: Environment, **_: Any) -> None:
    """Close the records; the last line says where they are."""
    if going.dispatcher:
        going.dispatcher.give_up()
    lost = 0
    if going.division:
        lost = going.division.end()
        going.division = None
    if going.recorder:
        going.recorder.close()
        going.recorder = None
    if going.in_flight:
        going.in_flight.close()
        going.in_flight = None
    if going.away:
        going.away.close()
        going.away = None
    if going.session:
        session, going.session = going.session, None
        if isinstance(environment.runner, MasterRunner):
            _await_workers(environment)
        try:
            session.finish(lost=lost)
        except ResultsError as error:
            disk_failed(environment, error)
        tell(environment, folder=None)
        print(f"results: {session.folder}", file=sys.stderr, flush=True)
    if going.broken:
        environment.process_exit_code = going.broken


def _await_workers(environment: Environment) -> None:
    """Let requests that were due in the window end before the server's tracing does.

    A master is told to stop before its workers are, and its workers' requests are its own no more.
    """
    slowest_s = environment.stats.total.max_response_time / 1e3
    gevent.sleep(min(slowest_s + LINGER_S, STOP_TIMEOUT_S))


@events.quit.add_listener
def stop_server(**_: Any) -> None:
    """Stop the server if this process started it."""
    if going.server:
        going.server.stop()
