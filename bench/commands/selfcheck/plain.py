"""`bench selfcheck plain`: the OpenCV ensemble against a plain FastAPI server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import msgspec

from bench.commands.selfcheck.rounds import length_s, options, show, take_turns, throughput
from bench.record import scenario
from bench.runs.equipment import equipped
from bench.runs.run import Plan
from pipelines import processes
from pipelines.errors import ServerError
from pipelines.servers import control


@contextlib.contextmanager
def plain_server() -> Iterator[str]:
    """Yield the address of a FastAPI server with one worker per core."""
    port = processes.free_port()
    command = [
        *("setpriv", "--pdeathsig", "TERM", "--"),
        *(
            sys.executable,
            "-m",
            "uvicorn",
            "pipelines.servers.fastapi_app:app",
            "--log-level",
            "warning",
        ),
        *("--host", processes.HOST, "--port", str(port)),
        *("--workers", str(len(os.sched_getaffinity(0)))),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    address = f"{processes.HOST}:{port}"
    try:
        deadline = time.monotonic() + control.START_TIMEOUT_S
        while not control.is_ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError("the plain server did not start", hint="run 'make setup'")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


@click.command()
@options(rounds=6, duration="10s")
def command(images: str, users: int, rounds: int, duration: float, folder: Path) -> None:
    """Compare the OpenCV ensemble with a plain FastAPI + onnxruntime + OpenCV server, in turn."""
    chosen = scenario.Settings(images=images, users=users)
    with equipped([chosen]) as (settings,), plain_server() as plain:
        a = Plan(settings, duration_s=duration, results=folder, recorded=False)
        b = replace(a, settings=msgspec.structs.replace(settings, transport="plain", server=plain))
        kinds = {"ensemble": a, "plain": b}
        taken = take_turns(
            {kind: (length_s(plan), partial(throughput, plan)) for kind, plan in kinds.items()},
            rounds=rounds,
        )
    show(taken)
