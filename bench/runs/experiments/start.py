"""One side of an experiment standing ready: its server and brokers, of the side's checkout."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from bench.record.scenario import SIZED, Settings, parts
from bench.runs.equipment import addressed, folder, services, use
from bench.runs.experiments.checkouts import Checkout
from bench.runs.experiments.protocol import SERVING
from bench.runs.experiments.side import Side
from pipelines.paths import ELSEWHERE
from pipelines.processes import HOST, Child, free_port, logged, stop_all
from pipelines.servers import control, malloc
from pipelines.servers.apps import start as apps
from pipelines.topologies import choose
from pipelines.topologies.setting import flag

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
    for side, at in sides:
        at.speaks.check(side.settings)
        if side.settings.named:
            apps.check(side.settings.served_by)
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
        sizes = {flag(name): getattr(settings, name) for name in SIZED}
        options += [word for name, one in sizes.items() if one for word in (name, str(one))]
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
    if settings.named:
        urls[settings.served_by] = _app(side, at=at, started=started)
    settings = addressed(settings, urls)
    if settings.server and settings.traced:
        use(settings.server, choose.models(*parts(settings).values()), of=f"{side.title}: ")
    return settings


def _app(side: Side, *, at: Checkout, started: list[Child]) -> str:
    """Start the side's server that is no Triton, and return its address."""
    asked, port = side.settings, free_port()
    how = as_child(at)
    how["environment"] = how["environment"] | malloc.ENVIRONMENT
    if side.repository:
        how["environment"][ELSEWHERE] = str(side.repository.resolve())
    serve = Child(
        side.title,
        apps.command(asked.served_by, asked.pipeline, port=port, python=str(at.python)),
        log=folder() / f"serve-{side.name}.log",
        is_ready=lambda _: control.is_ready(f"{HOST}:{port}"),
        start_timeout_s=START_TIMEOUT_S,
        **how,
    )
    started.append(serve)
    serve.wait_ready()
    return f"{HOST}:{port}"
