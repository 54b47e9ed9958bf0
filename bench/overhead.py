"""`bench overhead`: what tracing and recording cost, as a ratio of throughputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench import results
from bench.rounds import interleave, options, show
from bench.run import Plan, serving


@click.command()
@options
def command(images: str, users: int, rounds: int, duration: float, folder: Path) -> None:
    """Measure what tracing and recording cost: throughput with them and without, in turn."""
    with serving(None) as address:
        on = Plan(
            results.Settings(images=images, users=users, server=address),
            duration_s=duration,
            results=folder,
        )
        measured = interleave(on, replace(on, recorded=False), rounds=rounds)
    show(measured, names=("recorded", "unrecorded"))
