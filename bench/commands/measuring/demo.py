"""`bench demo`: the main job on real images through real Triton, every way and size once."""

import itertools
from pathlib import Path

import click

from bench.commands.measuring.grid import measure
from bench.commands.options import run_options
from bench.ledger.summary import Summary
from bench.record import scenario
from bench.report import terminal
from bench.report.run import render
from pipelines.preprocess.choose import WAYS

PAGE = "demo.html"
SETS = ("small", "medium", "large")


@click.command()
@run_options(duration="6s")
def command(duration: float, folder: Path) -> int:
    """Run small, medium and large images through all three ways and print where the time went."""

    def show(summaries: list[Summary]) -> list[Path]:
        terminal.show(render(summaries, format="text"))
        page = folder / PAGE
        page.write_text(render(summaries, format="html"), encoding="utf-8")
        return [page]

    chosen = [
        scenario.Settings(images=images, preprocess=way)
        for images, way in itertools.product(SETS, WAYS)
    ]
    return measure(chosen, show, duration=duration, results=folder)
