"""What a run needs beside the load: its server, message brokers, and the workers of a chain's
stages.

Each is started for as long as the caller needs it, or found where the caller says.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.record.scenario import SIZED, Settings, parts
from pipelines import paths, processes
from pipelines.engines.serving import TITLES, TRITON
from pipelines.errors import VisiontaxError
from pipelines.processes import Child, logged
from pipelines.servers import control, triton
from pipelines.servers.apps import start as apps
from pipelines.servers.device import parse
from pipelines.servers.kafka import start_kafka
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
from pipelines.servers.sizing import sizes_of
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES

SERVICES = {
    "memory": start_memory,
    "redis": start_redis,
    "kafka": start_kafka,
}
"""What can be started beside Triton."""

SERVICE_OF = {
    "memory": "memory",
    "redis-streams": "redis",
    "redis-lists": "redis",
    "kafka": "kafka",
    "kafka-tuned": "kafka",
}
"""The service that each topology with a broker needs."""


def folder() -> Path:
    """Return where this process keeps the logs of what it starts."""
    return paths.BUILD / "serve" / str(os.getpid())


@contextlib.contextmanager
def brokers(wanted: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield host:port of each service wanted. Raises ServerError when one does not start."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for name in sorted(set(wanted)):
            if name == "kafka":
                click.echo("starting Kafka ...", err=True)
            running = stack.enter_context(SERVICES[name](folder()))
            running.wait_ready()
            urls[name] = running.url
        yield urls


@contextlib.contextmanager
def equipped(chosen: Sequence[Settings]) -> Iterator[list[Settings]]:
    """Yield the settings with the addresses of all that they need, started where none is given.

    All of them have the same broker, Redis, device and sizes, or none of that; those of a server by
    name have the same pipeline, and of Triton the same address.
    Raises VisiontaxError when settings do not go together, or when something cannot be started.
    """
    for one in chosen:
        one.check()
        one.check_sizes()
    given = sorted({service_of(one) for one in chosen if one.brokered and one.broker})
    if len(given) > 1:
        raise VisiontaxError(
            f"one broker is given, but {' and '.join(given)} are needed",
            hint="run the topologies of one broker at a time, or leave --broker out",
        )
    real = [one for one in chosen if not one.serverless]
    with contextlib.ExitStack() as stack:
        urls = {}
        for name in sorted({one.served_by for one in real}):
            asked = [one for one in real if one.served_by == name]
            if name != TRITON:
                urls[name] = stack.enter_context(app(name, asked[0].pipeline))
            elif url := stack.enter_context(_triton(asked)):
                urls["http"] = url
        urls |= stack.enter_context(brokers({name for one in chosen for name in services(one)}))
        yield [addressed(one, urls) for one in chosen]


@contextlib.contextmanager
def _triton(asked: Sequence[Settings]) -> Iterator[str | None]:
    """Yield the address of a Triton that is started with the models; None where one was given."""
    models = sorted(choose.models(*(part for one in asked for part in parts(one).values())))
    if given := asked[0].server:
        use(given, models if asked[0].traced else ())
        yield None
        return
    sizes = sizes_of(parse(asked[0].device), **{name: getattr(asked[0], name) for name in SIZED})
    with triton.start(folder(), models=models, sizes=sizes) as running:
        running.wait_ready()
        yield running.url


def kit(settings: Settings) -> tuple[object, ...]:
    """Return what runs must have in common that the same equipment serves."""
    if settings.named:
        return settings.served_by, settings.pipeline
    return settings.device, *(getattr(settings, name) for name in SIZED)


@contextlib.contextmanager
def app(name: str, pipeline: str) -> Iterator[str]:
    """Yield the address of the pipeline behind another server than Triton, which is started.

    Raises ServerError when it does not start.
    """
    click.echo(f"starting {TITLES[name]} ...", err=True)
    with apps.start(name, pipeline, folder()) as running:
        running.wait_ready()
        yield running.url


def use(server: str, models: Sequence[str], *, of: str = "") -> None:
    """Have the Triton there serve the models; `of` begins the error.

    Raises ServerError when it is not ready.
    """
    start = "is 'bench serve' running? without an address one is started"
    control.check_ready(server, hint=start, of=of)
    control.load(server, models)


def service_of(settings: Settings) -> str:
    """Return the service that the topology, which has a broker, needs."""
    return SERVICE_OF[str(settings.topology)]


def services(settings: Settings) -> list[str]:
    """Return what is to be started beside Triton: what is needed, and given no address."""
    if not settings.brokered:
        return []
    needed = set() if settings.broker else {service_of(settings)}
    if settings.crops == "reference" and not settings.claims and service_of(settings) != "redis":
        needed.add("redis")
    return sorted(needed)


def addressed(settings: Settings, urls: Mapping[str, str]) -> Settings:
    """Return the settings with the addresses of what they need; `urls` are of what was started."""
    server = broker = claims = None
    if not settings.serverless:
        server = settings.server or urls[settings.served_by if settings.named else "http"]
    if settings.brokered:
        broker = settings.broker or urls[service_of(settings)]
        if settings.crops == "reference":
            theirs = broker if service_of(settings) == "redis" else urls.get("redis")
            claims = settings.claims or theirs
    return msgspec.structs.replace(settings, server=server, broker=broker, claims=claims)


def worker_arguments(settings: Settings, stage: str) -> list[str]:
    """Return the arguments of Python that start a worker of the stage."""
    document = msgspec.json.encode(settings).decode()
    return ["-m", "pipelines.worker", settings.pipeline, stage, "--scenario", document]


@contextlib.contextmanager
def crew(
    settings: Settings,
    *,
    python: str = sys.executable,
    arguments: Callable[[Settings, str], list[str]] = worker_arguments,
    name: str = "worker",
    **how: Any,
) -> Iterator[list[Child]]:
    """Yield the running workers that a run with these settings needs, none without a broker.

    `arguments` of `python` start a stage's, by default of this checkout, and `how` is of a
    Child; `name` begins the names of their logs.
    Raises ServerError in a worker's own words when it does not start.
    """
    folder().mkdir(parents=True, exist_ok=True)
    workers: list[Child] = []
    try:
        for stage, count in zip(STAGES, settings.workers, strict=True):
            for number in range(1, (count if settings.brokered else 0) + 1):
                log = folder() / f"{name}-{stage}-{number}.log"
                words = [python, *arguments(settings, stage)]
                workers.append(Child("a worker", words, log=log, is_ready=logged(": ready"), **how))
        for each in workers:
            each.wait_ready()
        yield workers
    finally:
        processes.stop_all(workers)
