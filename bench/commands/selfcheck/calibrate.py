"""`bench selfcheck calibrate`: how fast the load generator itself can go."""

from pathlib import Path

import click

from bench.commands.options import run_options
from bench.ledger.reading import summary_of
from bench.record import scenario
from bench.runs.run import Plan, execute


@click.command()
@click.option("--users", type=click.IntRange(1), default=16, help="Concurrent users.")
@run_options(duration="5s")
def command(users: int, duration: float, folder: Path) -> None:
    """Measure one generator process against the fake engine, which answers at once."""
    plan = Plan(
        scenario.Settings(images="small", users=users, transport="fake", service_s=0.0),
        duration_s=duration,
        results=folder,
    )
    summary = summary_of(execute(plan))
    click.echo(f"one generator process, {users} users, the fake engine answering at once:")
    click.echo(f"{summary.throughput_per_s:.0f} requests/s recorded")
    if summary.generator_cpu_share is not None:
        cost_us = summary.generator_cpu_share / summary.throughput_per_s * 1e6
        click.echo(f"{summary.generator_cpu_share:.0%} of a core, {cost_us:.0f} us of it a request")
