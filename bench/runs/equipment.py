"""What a run needs beside the load: Triton, message brokers, and the workers of a chain's stages.

Each is started for as long as the caller needs it, or found where the caller says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from bench.record.scenario import Settings
from pipelines import paths, processes
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import control, triton
from pipelines.servers.device import CPU, Device, parse
from pipelines.servers.kafka import start_kafka
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
from pipelines.servers.sizing import default_sizes
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES
from pipelines.topologies.scenario import address as address_of

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

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


@contextlib.contextmanager
def crew(settings: Settings) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield the running workers that a run with these settings needs, none without a broker.

    Raises ServerError in a worker's own words when it does not start.
    """
    if not settings.brokered:
        yield []
        return
    workers: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for stage, count in zip(STAGES, settings.workers, strict=True):
            for number in range(1, count + 1):
                workers.append(_start(settings, stage, number=number))
        for process, log in workers:
            _wait_ready(process, log)
        yield [process for process, _ in workers]
    finally:
        processes.end_all(
            [process for process, _ in workers], ask=signal.SIGTERM, patience_s=STOP_TIMEOUT_S
        )


def worker_command(settings: Settings, stage: str) -> list[str]:
    """Return the command of a worker of the stage."""
    document = msgspec.json.encode(settings).decode()
    return [
        *(sys.executable, "-m", "pipelines.worker", settings.pipeline, stage),
        *("--scenario", document),
    ]


def _start(settings: Settings, stage: str, *, number: int) -> tuple[subprocess.Popen[bytes], Path]:
    folder().mkdir(parents=True, exist_ok=True)
    log = folder() / f"worker-{stage}-{number}.log"
    with log.open("wb") as output:
        process = processes.spawn(worker_command(settings, stage), output=output)
    return process, log


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        if not processes.wait_line(process, log, ending=": ready", timeout_s=READY_TIMEOUT_S):
            raise ServerError(
                f"a worker ended while starting: {processes.last_line(log)}", hint=f"see {log}"
            )
    except TimeoutError:
        raise ServerError(
            f"a worker was not ready after {READY_TIMEOUT_S:.0f} s: {processes.last_line(log)}",
            hint=f"see {log}",
        ) from None
