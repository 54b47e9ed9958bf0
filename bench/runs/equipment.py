"""What a run needs beside the load: Triton, message brokers, and the workers of a chain's stages.

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

from bench.record.scenario import Settings
from pipelines import paths, processes
from pipelines.errors import VisiontaxError
from pipelines.processes import Child, logged
from pipelines.servers import control, triton
from pipelines.servers.device import parse
from pipelines.servers.kafka import start_kafka
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
from pipelines.servers.sizing import default_sizes
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

    All of them have the same server, broker, Redis and device, or none of that.
    Raises VisiontaxError when settings do not go together, or when something cannot be started.
    """
    for one in chosen:
        one.check()
    given = sorted({service_of(one) for one in chosen if one.brokered and one.broker})
    if len(given) > 1:
        raise VisiontaxError(
            f"one broker is given, but {' and '.join(given)} are needed",
            hint="run the topologies of one broker at a time, or leave --broker out",
        )
    real = [one for one in chosen if one.transport != "fake"]
    models = sorted({model for one in real for model in choose.models(one)})
    with contextlib.ExitStack() as stack:
        urls = {}
        if real and real[0].server:
            use(real[0].server, models)
        elif real:
            sizes = default_sizes(parse(real[0].device))
            running = stack.enter_context(triton.start(folder(), models=models, sizes=sizes))
            running.wait_ready()
            urls["http"] = running.url
        urls |= stack.enter_context(brokers({name for one in chosen for name in services(one)}))
        yield [addressed(one, urls) for one in chosen]


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
    if settings.transport != "fake":
        server = settings.server or urls["http"]
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
