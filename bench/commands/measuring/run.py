"""`bench run`: every combination of the settings asked for, and the runs' report."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from bench.commands.options import (
    DEFAULT_IMAGES,
    OFFERED,
    Duration,
    On,
    Several,
    results_option,
    stack_options,
)
from bench.commands.show import exit_code, show
from bench.prepare.images.sets import need_images
from bench.record import scenario
from bench.report.run import FORMATS
from bench.runs.equipment import equipped
from bench.runs.run import CutShortError, Plan, execute_all
from pipelines import tasks
from pipelines.preprocess.ways import WAYS
from pipelines.servers.device import CPU, Device
from pipelines.topologies.brokered.messages import FORMS
from pipelines.topologies.choose import DEFAULT_TOPOLOGY, PLACES, TOPOLOGIES


@click.command()
@click.argument("pipeline", type=click.Choice(tasks.PIPELINES), metavar="PIPELINE")
@click.option(
    "--images",
    type=Several(None),
    metavar="NAMES",
    help="Image sets, or a folder of JPEGs.  [medium; a chain: faces-4 or text-4]",
)
@click.option(
    "--preprocess",
    type=Several(sorted(WAYS)),
    default="opencv",
    metavar="NAMES",
    help=f"Ways to preprocess: {', '.join(WAYS)}.",
)
@click.option(
    "--place",
    type=Several(PLACES),
    default="server",
    metavar="NAMES",
    help="Who preprocesses: server, server-gpu (dali), or client, which then sends a tensor.",
)
@click.option(
    "--transport",
    type=Several(OFFERED),
    default="http",
    metavar="NAMES",
    help=f"How requests travel to Triton: {', '.join(OFFERED)}.",
)
@click.option(
    "--topology",
    type=Several(TOPOLOGIES),
    metavar="NAMES",
    help=f"How a chain's DNNs are connected: {', '.join(TOPOLOGIES)}.  [direct]",
)
@click.option(
    "--crops",
    type=Several(FORMS),
    default="raw",
    metavar="NAMES",
    help=f"How crops travel through a broker: {', '.join(FORMS)}.",
)
@click.option("--claims-url", help="The Redis for crops by reference; without it one is started.")
@click.option("--users", type=click.IntRange(1), default=1, help="Users who each wait for answers.")
@click.option("--duration", type=Duration(), default="10s", help="How long to measure.")
@click.option("--warmup", type=Duration(), default="2s", help="How long not to measure at first.")
@stack_options
@click.option("--device", "on", type=On(), help="Where a server that is started has DNNs.  [cpu]")
@results_option
@click.option("--seed", type=int, default=1, help="Of the order of the images.")
@click.option(
    "--format", type=click.Choice(sorted(FORMATS)), default="text", help="Of the report on stdout."
)
def command(
    pipeline: str,
    images: list[str] | None,
    preprocess: list[str],
    place: list[str],
    transport: list[str],
    topology: list[str] | None,
    crops: list[str],
    broker_url: str | None,
    claims_url: str | None,
    workers: tuple[int, int],
    batch: int,
    users: int,
    duration: float,
    warmup: float,
    server: str | None,
    on: Device | None,
    folder: Path,
    seed: int,
    format: str,
) -> int:
    """Load a pipeline and print where the time went.

    Options that take NAMES take several, separated by commas, and run every combination in turn.
    """
    if server is not None and on is not None:
        raise click.UsageError("--device is for a server that is started; --server has its own")
    sets = images or [DEFAULT_IMAGES.get(pipeline, "medium")]
    default: list[str | None] = [DEFAULT_TOPOLOGY if tasks.is_chain(pipeline) else None]
    chosen = [
        scenario.Settings(
            pipeline=pipeline,
            images=one,
            preprocess=way,
            place=where,
            transport=how,
            topology=connected,
            crops=form,
            workers=workers,
            batch=batch,
            users=users,
            warmup_s=warmup,
            seed=seed,
        )
        for one, way, where, how, connected, form in itertools.product(
            sets,
            preprocess,
            place,
            transport,
            topology or default,
            crops,
        )
    ]
    need_images(sets)
    with equipped(
        chosen, server=server, broker=broker_url, claims=claims_url, on=on or CPU
    ) as settings:
        plans = [Plan(one, duration_s=duration, results=folder) for one in settings]
        try:
            folders = execute_all(plans)
        except CutShortError as error:
            if error.folders:
                show(error.folders, format=format)
            raise
    return exit_code(show(folders, format=format))
