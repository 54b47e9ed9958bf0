"""When Locust's users come: those of an open loop at once, those of a load shape as it says."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from locust.dispatch import UsersDispatcher
from locust.env import Environment


def at_once(is_open: Callable[[], bool]) -> type[UsersDispatcher]:
    """Return a dispatcher for which the users of an open loop are places: all are there at once."""

    class Dispatcher(UsersDispatcher):
        def new_dispatch(
            self, target_user_count: int, spawn_rate: float, user_classes: Any = None
        ) -> None:
            rate = max(spawn_rate, target_user_count) if is_open() else spawn_rate
            super().new_dispatch(target_user_count, rate, user_classes)

    return Dispatcher


def shape_of(environment: Environment) -> str | None:
    """Return the name of the load shape, None where there is none."""
    shape = environment.shape_class
    return None if shape is None else type(shape).__name__


@contextlib.contextmanager
def held(environment: Environment) -> Iterator[None]:
    """The load shape asks for nothing new meanwhile; its time starts afterwards.

    Else Locust would break off what is done at the start of a run at the shape's next step.
    """
    shape: Any = environment.shape_class
    if shape is None:
        yield
        return
    runner: Any = environment.runner
    shape.tick = lambda: runner.shape_last_tick
    try:
        yield
    finally:
        del shape.tick
        shape.reset_time()
