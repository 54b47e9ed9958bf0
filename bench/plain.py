"""`bench plain`: the OpenCV ensemble against a plain FastAPI server on the same machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from bench import results
from bench.plan import Plan
from bench.rounds import interleave, options, show
from bench.stack import equipped
from pipelines import server as embedded
from pipelines.errors import ServerError


@contextlib.contextmanager
def plain_server() -> Iterator[str]:
    """Yield the address of a FastAPI server with one worker per core."""
    port = embedded.free_port()
    command = [
        *("setpriv", "--pdeathsig", "TERM", "--"),
        *(sys.executable, "-m", "uvicorn", "bench.plain_app:app", "--log-level", "warning"),
        *("--host", embedded.HOST, "--port", str(port)),
        *("--workers", str(len(os.sched_getaffinity(0)))),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    address = f"{embedded.HOST}:{port}"
    try:
        deadline = time.monotonic() + embedded.START_TIMEOUT_S
        while not embedded.is_ready(address):
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
    chosen = results.Settings(images=images, users=users)
    with equipped([chosen]) as (settings,), plain_server() as plain:
        a = Plan(settings, duration_s=duration, results=folder, recorded=False)
        b = replace(a, settings=msgspec.structs.replace(settings, transport="plain", server=plain))
        measured = interleave(a, b, rounds=rounds)
    show(measured, names=("ensemble", "plain"))
