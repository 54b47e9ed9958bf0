"""`bench collect`: what workers on other hosts recorded, brought into the run."""

from pathlib import Path

import click

from bench.ledger.units import count
from bench.record.manifest import read_manifest
from bench.runs.collect import collect


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, metavar="[HOST:FOLDER|FOLDER]...")
def command(run: Path, sources: tuple[str, ...]) -> None:
    """Bring what Locust's workers on other hosts recorded into the RUN of their master.

    Each source is the --results folder of workers: HOST:FOLDER is copied by scp, a FOLDER from a
    disk. Those on a disk that is shared with the RUN are found without being named.
    """
    if read_manifest(run).window_end_ns is None:
        click.echo(
            "warning: the run goes on, or was killed: collect again when it is over", err=True
        )
    for one in collect(run, sources):
        placed = one.placed
        said = [count(placed.processes, "generator"), count(placed.requests, "request")]
        if placed.bound_ns:
            clock = f"clock moved by {placed.ahead_ns / 1e9:+,.6f} s"
            said.append(f"{clock}, right within {placed.bound_ns / 1e6:.3f} ms")
        else:
            said.append("on the run's clock")
        again = "" if one.fresh else "already collected: "
        click.echo(f"{one.source}, host {one.tag}: {again}{', '.join(said)}")
    missing = [tag for tag, placed in read_manifest(run).hosts.items() if placed is None]
    if missing:
        click.echo(f"still missing: {count(len(missing), 'host')} ({', '.join(missing)})")
    else:
        click.echo(f"next: bench report {run}")
