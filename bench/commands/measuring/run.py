"""`bench run`: every combination of the settings asked for, and the runs' report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import results_option, scenario_options
from bench.commands.show import exit_code, show
from bench.prepare.images.sets import need_images
from bench.record.scenario import Settings, settings_of
from bench.report.run import FORMATS
from bench.runs.equipment import equipped
from bench.runs.run import CutShortError, Plan, execute_all
from pipelines import tasks
from pipelines.topologies.scenario import DURATION

SEVERAL = ("images", "preprocess", "place", "transport", "topology", "crops")


@click.command(params=scenario_options(several=SEVERAL, device={"default": None}))
@click.argument("pipeline", type=click.Choice(tasks.PIPELINES), metavar="PIPELINE")
@click.option("--duration", type=DURATION, default="10s", help="How long to measure.")
@results_option
@click.option(
    "--format", type=click.Choice(sorted(FORMATS)), default="text", help="Of the report on stdout."
)
def command(pipeline: str, duration: float, folder: Path, format: str, **given: Any) -> int:
    """Load a pipeline and print where the time went.

    Options that take NAMES take several, separated by commas, and run every combination in turn.
    """
    if given["server"] is not None and given["device"] is not None:
        raise click.UsageError("--device is for a server that is started; --server has its own")
    chosen = combinations(given | {"pipeline": pipeline}, SEVERAL)
    need_images(one.images for one in chosen)
    with equipped(chosen) as settings:
        plans = [Plan(one, duration_s=duration, results=folder) for one in settings]
        try:
            folders = execute_all(plans)
        except CutShortError as error:
            if error.folders:
                show(error.folders, format=format)
            raise
    return exit_code(show(folders, format=format))


def combinations(given: dict[str, Any], several: Sequence[str]) -> list[Settings]:
    """Return the settings of every combination of the values of the settings that have several."""
    values = [given[field] or [None] for field in several]
    return [
        settings_of(given | dict(zip(several, one, strict=True)))
        for one in itertools.product(*values)
    ]
