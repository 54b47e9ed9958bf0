"""`bench demo`: the main job on real images through real Triton, every way and size once."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from bench.commands.options import results_option
from bench.commands.show import exit_code, show
from bench.record import scenario
from bench.report.run import render
from bench.runs.equipment import equipped
from bench.runs.run import Plan, execute_all
from pipelines.preprocess.choose import WAYS
from pipelines.topologies.scenario import DURATION

PAGE = "demo.html"
SETS = ("small", "medium", "large")


@click.command()
@click.option("--duration", type=DURATION, default="6s", help="How long each run measures.")
@results_option
def command(duration: float, folder: Path) -> int:
    """Run small, medium and large images through all three ways and print where the time went."""
    chosen = [
        scenario.Settings(images=images, preprocess=way)
        for images, way in itertools.product(SETS, WAYS)
    ]
    with equipped(chosen) as settings:
        folders = execute_all([Plan(one, duration_s=duration, results=folder) for one in settings])
    summaries = show(folders, format="text")
    page = folder / PAGE
    page.write_text(render(summaries, format="html"), encoding="utf-8")
    click.echo(f"the same as a page: {page}", err=True)
    return exit_code(summaries)
