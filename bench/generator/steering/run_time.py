"""The run time that was asked for, counted from the moment the load begins.

Locust counts it from when it is told to start: before models are loaded, DALI's steps measured,
users spawned and workers told.
"""

import logging
from typing import Any

import gevent
from locust.env import Environment

_UNLIMITED = "No run time limit set, use CTRL+C to interrupt"


class RunTime:
    """How long the next run is to take. Of a load shape and of a worker it says nothing."""

    def __init__(self, environment: Environment) -> None:
        """Take over the run time that a load has which Locust starts by itself."""
        self._environment = environment
        self._asked_s: float | None = None
        options: Any = environment.parsed_options
        by_itself = options.headless or options.autostart
        if by_itself and options.run_time and not options.worker and not environment.shape_class:
            self._asked_s, options.run_time = options.run_time, None
            logging.getLogger("locust.main").addFilter(lambda it: it.msg != _UNLIMITED)

    def take(self) -> None:
        """A run is about to begin: stop the clock that Locust's page has started."""
        page: Any = self._environment.web_ui
        options: Any = self._environment.parsed_options
        if page and page._run_time_greenlet:
            page._cancel_run_time_timer()
            self._asked_s = options.run_time
        elif self._asked_s:
            options.run_time = self._asked_s  # the page shows it

    def begin(self) -> float | None:
        """The load begins now; return how long it is to take, None where nobody said.

        The page's own buttons stop this clock as they do Locust's.
        """
        asked_s, self._asked_s = self._asked_s, None
        if asked_s is None:
            return None
        clock = gevent.spawn_later(asked_s, self._end)
        page: Any = self._environment.web_ui
        if page:
            page._run_time_greenlet = clock
        return asked_s

    def _end(self) -> None:
        page, runner, options = self._parts()
        logging.getLogger(__name__).info("the run time is over")
        if options.headless:
            runner.quit()
            return
        page._run_time_greenlet = None
        runner.stop()
        if options.autostart and options.autoquit != -1:
            gevent.sleep(options.autoquit)
            runner.quit()
            page.stop()

    def _parts(self) -> tuple[Any, Any, Any]:
        environment = self._environment
        return environment.web_ui, environment.runner, environment.parsed_options
