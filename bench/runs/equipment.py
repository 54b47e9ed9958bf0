"""What a run needs beside the load: Triton, message brokers, and the workers of a chain's stages.

Each is started for as long as the caller needs it, or found where the caller says.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.record.scenario import Settings
from pipelines import paths, processes
from pipelines.errors import ServerError, VisiontaxError
from pipelines.processes import Child, logged
from pipelines.servers import control, triton
from pipelines.servers.device import CPU, Device, parse
from pipelines.servers.kafka import start_kafka
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
from pipelines.servers.sizing import default_sizes
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES
from pipelines.topologies.scenario import address as address_of

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
def serving(
    address: str | None, *, models: Sequence[str] = (), wanted: bool = True, on: Device = CPU
) -> Iterator[str | None]:
    """Yield the address of a ready Triton: the one given, or one that runs for as long as this.

    The latter is started on that device. It serves the models. Raises ServerError when there is
    none at the address, or when it cannot. Without `wanted` nothing is started.
    """
    if address is not None:
        address = address_of(address)
        if wanted and not control.is_ready(address):
            raise ServerError(
                f"Triton is not ready at {address}",
                hint="is 'bench serve' running? without --server one is started",
            )
        if wanted:
            control.load(address, models)
        yield address
        return
    if not wanted:
        yield None
        return
    with triton.start(folder(), models=models, sizes=default_sizes(on)) as running:
        running.wait_ready()
        yield running.url


@contextlib.contextmanager
def brokers(wanted: Iterable[str], *, given: str | None = None) -> Iterator[dict[str, str]]:
    """Yield host:port of each service wanted; `given` is where they are if none is to be started.

    Raises ServerError when one does not start, and VisiontaxError when one is to be all of several.
    """
    names = sorted(set(wanted))
    if given is not None and len(names) > 1:
        raise VisiontaxError(
            f"one broker is given, but {' and '.join(names)} are needed",
            hint="run the topologies of one broker at a time, or leave --broker out",
        )
    if given is not None:
        yield dict.fromkeys(names, address_of(given))
        return
    with contextlib.ExitStack() as stack:
        urls = {}
        for name in names:
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
    real = [one for one in chosen if one.transport != "fake"]
    models = {model for one in real for model in choose.models(one)}
    referring = [one for one in chosen if one.brokered and one.crops == "reference"]
    needed = {SERVICE_OF[str(one.topology)] for one in chosen if one.brokered}
    first, on = chosen[0], parse(chosen[0].device)
    with (
        serving(first.server, models=sorted(models), wanted=bool(real), on=on) as triton,
        brokers(needed, given=first.broker) as urls,
        _claims(referring, urls, given=first.claims) as kept_at,
    ):
        yield [
            msgspec.structs.replace(
                one,
                server=None if one.transport == "fake" else triton,
                broker=urls[SERVICE_OF[str(one.topology)]] if one.brokered else None,
                claims=kept_at if one in referring else None,
            )
            for one in chosen
        ]


@contextlib.contextmanager
def _claims(
    referring: Sequence[Settings], urls: dict[str, str], *, given: str | None
) -> Iterator[str | None]:
    """Yield the Redis for crops by reference: the given one, the broker's, or one of its own."""
    if not referring or given or "redis" in urls:
        yield given or urls.get("redis")
        return
    with brokers(["redis"]) as started:
        yield started["redis"]


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
