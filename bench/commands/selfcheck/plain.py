"""`bench selfcheck plain`: the OpenCV ensemble against a plain FastAPI server."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import msgspec

from bench.commands.selfcheck.rounds import length_s, options, show, take_turns, throughput
from bench.record import scenario
from bench.runs import equipment
from bench.runs.equipment import equipped
from bench.runs.run import Plan
from pipelines import processes
from pipelines.servers import control
from pipelines.servers.service import Service


def plain_server() -> Service:
    """Start a FastAPI server with one worker per core."""
    port = processes.free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "pipelines.servers.fastapi_app:app"),
        *("--log-level", "warning", "--host", processes.HOST, "--port", str(port)),
        *("--workers", str(len(os.sched_getaffinity(0)))),
    ]
    return Service(
        *("plain", command),
        port=port,
        folder=equipment.folder(),
        is_ready=control.is_ready,
        start_timeout_s=control.START_TIMEOUT_S,
    )


@click.command()
@options(rounds=6, duration="10s")
def command(images: str, users: int, rounds: int, duration: float, folder: Path) -> None:
    """Compare the OpenCV ensemble with a plain FastAPI + onnxruntime + OpenCV server, in turn."""
    chosen = scenario.Settings(images=images, users=users)
    with equipped([chosen]) as (settings,), plain_server() as plain:
        plain.wait_ready()
        a = Plan(settings, duration_s=duration, results=folder, recorded=False)
        b = replace(
            a, settings=msgspec.structs.replace(settings, transport="plain", server=plain.url)
        )
        kinds = {"ensemble": a, "plain": b}
        taken = take_turns(
            {kind: (length_s(plan), partial(throughput, plan)) for kind, plan in kinds.items()},
            rounds=rounds,
        )
    show(taken)
