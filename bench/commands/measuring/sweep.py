"""`bench sweep`: a chain by fan-out and topology in interleaved rounds, as tables and as a page."""

import re
import time
from pathlib import Path
from typing import Any

import click

from bench.commands.measuring.grid import measure
from bench.commands.options import run_options, scenario_options
from bench.ledger.grid import images_with, sweep_of
from bench.ledger.summary import Summary
from bench.prepare.images.scenes import MOST
from bench.prepare.images.sets import need_images
from bench.record.scenario import settings_of
from bench.report import terminal
from bench.report.grid import FORMATS, render
from bench.report.sweep_page import render_page
from bench.runs.order import in_turn
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import Text

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
@run_options(duration="4s", rounds=1, formats=FORMATS)
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

    def show(summaries: list[Summary]) -> list[Path]:
        sweep = sweep_of(summaries)
        terminal.show(render(sweep, format=format), format=format)
        page = folder / f"sweep-{chain}-{time.strftime('%Y%m%d-%H%M%S')}.html"
        page.write_text(render_page(sweep), encoding="utf-8")
        return [page]

    sets = [images_with(chain, number) for number in fanout]
    need_images(sets)
    given |= {"pipeline": chain}
    groups = [
        [
            settings_of(given | {"images": images, "topology": topology})
            for topology in dict.fromkeys(given["topology"])
        ]
        for images in sets
    ]
    chosen = in_turn(groups, rounds=rounds, seed=given["seed"])
    return measure(chosen, show, duration=duration, results=folder)
