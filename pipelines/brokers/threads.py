"""Where calls that block are made: at once, or on a thread, out of gevent's way."""

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Thread:
    """Makes calls one after the other; on a thread where gevent has patched the process."""

    def __init__(self) -> None:
        self._pool: Any = None
        monkey: Any = sys.modules.get("gevent.monkey")
        if monkey is not None and monkey.is_module_patched("socket"):
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(1)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns, or raise what it raises."""
        if self._pool is None:
            return function(*args, **kwargs)
        # An error comes as a value: gevent prints those that are raised on its threads.
        result, error = self._pool.apply(_attempt, (function, args, kwargs))
        if error is not None:
            raise error
        kept: T = result
        return kept

    def end(self) -> None:
        """Make no more calls."""
        if self._pool is not None:
            self._pool.kill()


def _attempt(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Exception | None]:
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error
