"""`bench run`: every combination of the settings asked for, and the runs' report."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.measuring.grid import measure
from bench.commands.options import run_options, scenario_options
from bench.ledger.summary import Summary
from bench.prepare.images.sets import need_images
from bench.record.scenario import Settings, settings_of
from bench.report import terminal
from bench.report.run import FORMATS, render
from pipelines import tasks

SEVERAL = ("images", "preprocess", "place", "transport", "topology", "crops")


@click.command(params=scenario_options(several=SEVERAL, device={"default": None}))
@click.argument("pipeline", type=click.Choice(tasks.PIPELINES), metavar="PIPELINE")
@run_options(duration="10s", formats=FORMATS)
def command(pipeline: str, duration: float, folder: Path, format: str, **given: Any) -> int:
    """Load a pipeline and print where the time went.

    Options that take NAMES take several, separated by commas, and run every combination in turn.
    """
    if given["server"] is not None and given["device"] is not None:
        raise click.UsageError("--device is for a server that is started; --server has its own")
    chosen = combinations(given | {"pipeline": pipeline}, SEVERAL)
    need_images(one.images for one in chosen)

    def show(summaries: list[Summary]) -> list[Path]:
        terminal.show(render(summaries, format=format), format=format)
        return []

    return measure(chosen, show, duration=duration, results=folder)


def combinations(given: dict[str, Any], several: Sequence[str]) -> list[Settings]:
    """Return the settings of every combination of the values of the settings that have several."""
    values = [given[field] or [None] for field in several]
    return [
        settings_of(given | dict(zip(several, one, strict=True)))
        for one in itertools.product(*values)
    ]
