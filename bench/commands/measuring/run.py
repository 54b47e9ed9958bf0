"""`bench run`: every combination of the settings asked for, and the runs' report."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import run_options, scenario_options
from bench.commands.show import exit_code
from bench.ledger.reading import summary_of
from bench.prepare.images.sets import need_images, specs_of
from bench.record.scenario import Settings, settings_of
from bench.report.document import terminal
from bench.report.document.written import FORMATS
from bench.report.run import render
from bench.runs.equipment import equipped
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run
from pipelines.engines.serving import SERVERS
from pipelines.topologies.setting import table

SEVERAL = ("images", "preprocess", "decode", "place", "transport", "topology", "crops")


@click.command(params=scenario_options(several=SEVERAL, device={"default": None}))
@click.argument("pipeline", type=table(Settings)["pipeline"].type, metavar="PIPELINE")
@run_options(duration="10s", formats=FORMATS)
def command(pipeline: str, duration: float, folder: Path, format: str, **given: Any) -> int:
    """Load a pipeline, or a mix of them by weight, and print where the time went.

    Options that take NAMES take several, separated by commas, and run every combination in turn.
    """
    if given["server"] not in (None, *SERVERS) and given["device"] is not None:
        raise click.UsageError("--device is for a server that is started; --server has its own")
    chosen = combinations(given | {"pipeline": pipeline}, SEVERAL)
    need_images(specs_of(chosen))

    made: list[Path] = []
    try:
        with equipped(chosen) as settings:
            for run in each_run([Plan(one, duration, results=folder) for one in settings]):
                made.append(run)  # one by one: what was made counts also when the next one fails
    finally:
        if made:
            summaries = [summary_of(run) for run in made]
            terminal.show(render(summaries, format=format), format=format)
            say_where(made)
    return exit_code(summaries)


def combinations(given: dict[str, Any], several: Sequence[str]) -> list[Settings]:
    """Return the settings of every combination of the values of the settings that have several."""
    values = [given[field] or [None] for field in several]
    return [
        settings_of(given | dict(zip(several, one, strict=True)))
        for one in itertools.product(*values)
    ]
