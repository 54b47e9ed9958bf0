"""One side of an experiment standing ready: its server and brokers, of the side's checkout."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bench.record.scenario import Settings
from bench.runs.equipment import SERVICE_OF, folder
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.protocol import SERVING
from bench.runs.experiments.side import Side
from pipelines.errors import ServerError
from pipelines.processes import Child, logged, stop_all
from pipelines.servers import control
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
    settings = side.settings
    needs_server, services = settings.traced and settings.server is None, _services(settings)
    if needs_server or services:
        log, written = (folder() / f"serve-{side.name}.{kind}" for kind in ("log", "json"))
        options = ["--device", settings.device]
        options += ["--repository", str(side.repository.resolve())] if side.repository else []
        options += [word for service in services for word in ("--with", service)]
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
        settings = _addressed(settings, at.speaks.addresses(log, written=written))
    if settings.server and settings.traced:
        if not control.is_ready(settings.server):
            raise ServerError(
                f"{side.title}: Triton is not ready at {settings.server}",
                hint="is 'bench serve' running? without server= one is started",
            )
        control.load(settings.server, choose.models(settings))
    return settings


def _services(settings: Settings) -> list[str]:
    """What `bench serve` is to start beside Triton."""
    if not settings.brokered:
        return []
    needed = set() if settings.broker else {SERVICE_OF[str(settings.topology)]}
    if settings.crops == "reference" and not settings.claims:
        needed.add("redis")
    return sorted(needed)


def _addressed(settings: Settings, urls: dict[str, str]) -> Settings:
    broker, claims = settings.broker, settings.claims
    if settings.brokered:
        broker = broker or urls[SERVICE_OF[str(settings.topology)]]
        if settings.crops == "reference":
            claims = claims or urls["redis"]
    server = settings.server or (urls["http"] if settings.traced else None)
    return msgspec.structs.replace(settings, server=server, broker=broker, claims=claims)
