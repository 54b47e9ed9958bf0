"""`bench demo`: the main job on real images through real Triton, every way and size once."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from bench import results
from bench.choices import results_option
from bench.durations import Duration
from bench.plan import Plan, execute_all
from bench.report import render
from bench.reports import exit_code
from bench.run import show
from bench.stack import equipped
from pipelines.preprocess import WAYS

PAGE = "demo.html"
SETS = ("small", "medium", "large")


@click.command()
@click.option("--duration", type=Duration(), default="6s", help="How long each run measures.")
@results_option
def command(duration: float, folder: Path) -> int:
    """Run small, medium and large images through all three ways and print where the time went."""
    chosen = [
        results.Settings(images=images, preprocess=way)
        for images, way in itertools.product(SETS, WAYS)
    ]
    with equipped(chosen) as settings:
        folders = execute_all([Plan(one, duration_s=duration, results=folder) for one in settings])
    summaries = show(folders, format="text")
    page = folder / PAGE
    page.write_text(render(summaries, format="html"), encoding="utf-8")
    click.echo(f"the same as a page: {page}", err=True)
    return exit_code(summaries)
