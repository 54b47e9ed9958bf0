"""`bench demo`: the main job on real images through real Triton, every way and size once."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from bench import results
from bench.durations import Duration
from bench.recipes import RECIPES
from bench.report import render
from bench.reports import exit_code
from bench.run import Plan, execute_all, results_option, serving, show
from pipelines.preprocess import WAYS

PAGE = "demo.html"


@click.command()
@click.option("--duration", type=Duration(), default="6s", help="How long each run measures.")
@results_option
def command(duration: float, folder: Path) -> int:
    """Run small, medium and large images through all three ways and print where the time went."""
    with serving(None) as address:
        plans = [
            Plan(
                results.Settings(images=images, preprocess=way, warmup_s=2.0, server=address),
                duration_s=duration,
                results=folder,
            )
            for images, way in itertools.product(RECIPES, WAYS)
        ]
        folders = execute_all(plans)
    summaries = show(folders, format="text")
    page = folder / PAGE
    page.write_text(render(summaries, format="html"), encoding="utf-8")
    click.echo(f"the same as a page: {page}", err=True)
    return exit_code(summaries)
