"""Where a process does its own work on images: at once, or on a pool of real threads, so that one
user's decoding does not hold up the clocks of all the others in a gevent load generator.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pipelines.spans import Span

T = TypeVar("T")


Run = Callable[..., tuple[Any, list[Span]]]
"""Calls a function with arguments; returns its result, and the spans spent on waiting."""


def run_of(where: str) -> Run:
    """Return how the process of that name in the spans does its work."""
    return on_threads if where == "client" else at_once


def at_once(function: Callable[..., T], *arguments: Any) -> tuple[T, list[Span]]:
    """Call the function here and now."""
    return function(*arguments), []


def on_threads(function: Callable[..., T], *arguments: Any) -> tuple[T, list[Span]]:
    """Call the function on one of as many threads as there are cores.

    Waiting for a thread, and for the generator to take notice of its end, is `queue`.
    """
    asked = time.monotonic_ns()
    result, began, ended = _pool(os.getpid()).apply(_timed, (function, *arguments))
    noticed = time.monotonic_ns()
    waits = [Span("queue", asked, began, "client"), Span("queue", ended, noticed, "client")]
    return result, waits


def _timed(function: Callable[..., T], *arguments: Any) -> tuple[T, int, int]:
    began = time.monotonic_ns()
    result = function(*arguments)
    return result, began, time.monotonic_ns()


@functools.cache
def _pool(pid: int) -> Any:  # noqa: ARG001
    """The pool of that process, made after any fork."""
    import gevent
    from gevent.threadpool import ThreadPool

    return ThreadPool(len(os.sched_getaffinity(0)), hub=gevent.get_hub())
