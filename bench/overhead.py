"""`bench overhead`: what tracing and recording cost, as a ratio of throughputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench import results
from bench.durations import Duration
from bench.rounds import interleave, show
from bench.run import Plan, serving


@click.command()
@click.option("--images", default="medium", help="small, medium, large or DIR")
@click.option("--users", type=click.IntRange(1), default=16)
@click.option("--rounds", type=click.IntRange(1), default=6)
@click.option("--duration", type=Duration(), default="10s", help="How long each run measures.")
@click.option("--results", "folder", type=click.Path(path_type=Path), default=results.RESULTS)
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
