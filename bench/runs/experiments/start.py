"""One side of an experiment standing ready: its server and brokers, of the side's checkout."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from bench.record.scenario import Settings
from bench.runs.equipment import addressed, folder, services, use
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.protocol import SERVING
from bench.runs.experiments.side import Side
from pipelines.processes import Child, logged, stop_all
from pipelines.topologies import choose

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0


def as_child(at: Checkout) -> dict[str, Any]:
    """Return how a Child is started that runs code of the checkout."""
    return {"folder": at.folder, "environment": at.environment, "patience_s": STOP_TIMEOUT_S}


@contextlib.contextmanager
def equipped(sides: Sequence[tuple[Side, Checkout]]) -> Iterator[list[Settings]]:
    """Yield each side's settings with the addresses of its own server and brokers.

    Raises VisiontaxError in the words of what does not start.
    """
    folder().mkdir(parents=True, exist_ok=True)
    started: list[Child] = []
    try:
        # One after the other: servers of one repository write the same files when they start.
        yield [_equip(side, at=at, started=started) for side, at in sides]
    finally:
        stop_all(started)


def _equip(side: Side, *, at: Checkout, started: list[Child]) -> Settings:
    settings, urls = side.settings, {}
    needs_server, beside = settings.traced and settings.server is None, services(settings)
    if needs_server or beside:
        log, written = (folder() / f"serve-{side.name}.{kind}" for kind in ("log", "json"))
        options = ["--device", settings.device]
        options += ["--repository", str(side.repository.resolve())] if side.repository else []
        options += [word for service in beside for word in ("--with", service)]
        command = [str(at.python), *at.speaks.serve(settings, options, addresses=written)]
        serve = Child(
            *(side.title, command),
            log=log,
            is_ready=logged(SERVING),
            start_timeout_s=START_TIMEOUT_S,
            **as_child(at),
        )
        started.append(serve)
        serve.wait_ready()
        urls = at.speaks.addresses(log, written=written)
    settings = addressed(settings, urls)
    if settings.server and settings.traced:
        use(settings.server, choose.models(settings), of=f"{side.title}: ")
    return settings
