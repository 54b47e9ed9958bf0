"""Where calls that block are made: at once, or on a thread, out of gevent's way."""

import sys
from collections.abc import Callable
from typing import Any


def pool() -> Any:
    """Return a pool of one thread where gevent has patched the process, else None."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return None
    from gevent.threadpool import ThreadPool

    return ThreadPool(1)


def call(pool: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what the function returns, or raise what it raises, on the pool's thread if any."""
    if pool is None:
        return function(*args, **kwargs)
    result, error = pool.apply(_attempt, (function, args, kwargs))
    if error is not None:
        raise error
    return result


def _attempt(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """An error comes as a value: gevent prints those that are raised on its threads."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error
