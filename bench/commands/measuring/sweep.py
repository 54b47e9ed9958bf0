"""`bench sweep`: a chain by fan-out and topology in interleaved rounds, as tables and as a page."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import results_option, scenario_options
from bench.commands.show import exit_code
from bench.ledger.grid import images_with, sweep_of
from bench.ledger.reading import summary_of
from bench.prepare.images.scenes import MOST
from bench.prepare.images.sets import ensure_images
from bench.record.scenario import settings_of
from bench.report import terminal
from bench.report.grid import FORMATS, render
from bench.report.sweep_page import render_page
from bench.runs import order
from bench.runs.equipment import equipped
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import DURATION, Text

CHAINS = tuple(name for name in tasks.PIPELINES if tasks.is_chain(name))


def fanouts_of(text: str) -> list[int]:
    """Return the fan-outs that `0..12`, `0,2,8` or a mix of both names, ascending, each once.

    Raises VisiontaxError when it names none, a larger one than MOST, or a range that descends.
    """
    found: set[int] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        ends = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", part, re.ASCII)
        if ends is None:
            raise VisiontaxError(f"not a fan-out: {part!r}", hint="write 0..12, or 0,2,4")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first:
            raise VisiontaxError(f"the range {part} descends", hint=f"write {last}..{first}")
        if last > MOST:
            raise VisiontaxError(
                f"there are no images with {last} regions", hint=f"fan-outs are 0 to {MOST}"
            )
        found.update(range(first, last + 1))
    if not found:
        raise VisiontaxError("there is no fan-out", hint="write 0..12, or 0,2,4")
    return sorted(found)


FAN_OUTS = Text("fan-outs", fanouts_of)
"""Fan-outs on the command line."""


def in_turn(
    fanouts: Sequence[int], topologies: Sequence[str], *, rounds: int, seed: int
) -> list[tuple[int, str]]:
    """Return every fan-out with every topology, once a round, shuffled anew in each.

    The topologies of a fan-out, which are to be compared, follow each other.
    """
    groups = [[(fanout, topology) for topology in topologies] for fanout in fanouts]
    return order.in_turn(groups, rounds=rounds, seed=seed)


def show(folders: Sequence[Path], *, format: str) -> int:
    """Print the sweep that these runs are, write its page beside them, and return the exit code."""
    summaries = [summary_of(folder) for folder in folders]
    sweep = sweep_of(summaries)
    terminal.show(render(sweep, format=format), format=format)
    say_where(folders)
    page = folders[0].parent / f"sweep-{sweep.chain}-{time.strftime('%Y%m%d-%H%M%S')}.html"
    page.write_text(render_page(sweep), encoding="utf-8")
    click.echo(f"the same as a page: {page}", err=True)
    return exit_code(summaries)


@click.command(
    params=scenario_options(
        several=["topology"],
        without=("images", "claims", "device"),
        topology={"default": "fused,direct,redis-streams,redis-lists,kafka"},
        users={"default": 4},
        warmup_s={"default": "1s"},
        seed={"help": "Of the order of the runs, and of the images."},
    )
)
@click.argument("chain", type=click.Choice(CHAINS), metavar="CHAIN")
@click.option("--fanout", type=FAN_OUTS, default=f"0..{MOST}", help="Crops an image: 0..12 or 0,2.")
@click.option("--rounds", type=click.IntRange(1), default=1, help="Runs of each point.")
@click.option("--duration", type=DURATION, default="4s", help="How long each run measures.")
@results_option
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", help="On stdout.")
def command(
    chain: str,
    fanout: list[int],
    rounds: int,
    duration: float,
    folder: Path,
    format: str,
    **given: Any,
) -> int:
    """Sweep a chain's fan-out in every topology: throughput, latency, and what the broker takes."""
    ensure_images([images_with(chain, number) for number in fanout])
    topologies = list(dict.fromkeys(given["topology"]))
    chosen = [
        settings_of(
            given | {"pipeline": chain, "images": images_with(chain, number), "topology": topology}
        )
        for number, topology in in_turn(fanout, topologies, rounds=rounds, seed=given["seed"])
    ]
    made: list[Path] = []
    code = 0
    try:
        with equipped(chosen) as settings:
            plans = [Plan(one, duration_s=duration, results=folder) for one in settings]
            for run in each_run(plans):
                made.append(run)
    finally:
        if made:
            code = show(made, format=format)
    return code
