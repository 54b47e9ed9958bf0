"""`bench ab`: is B better than A? Both stand ready, each with its own server, and take turns.

What the turns were stands in `ab.json`, beside the ordinary run folders `a` and `b`.
"""

from pathlib import Path
from typing import Any

import click

from bench.commands.options import ROUNDS, loading_option, results_option
from bench.commands.show import EXIT_INVALID
from bench.commands.sides import COMMON, check_apart, read
from bench.compare.observations import read_experiment
from bench.compare.stored import of_experiment
from bench.prepare.images.sets import need_images, specs_of
from bench.record.scenario import Settings
from bench.report.comparison import render
from bench.report.document import terminal
from bench.report.document.written import FORMATS
from bench.runs.experiments.blocks import Timing
from bench.runs.experiments.experiment import experiment, once_more
from bench.runs.progress import say_where
from pipelines.errors import ResultsError
from pipelines.topologies.setting import DURATION, table


@click.command(params=[*COMMON, loading_option()])
@click.argument("pipeline", type=table(Settings)["pipeline"].type, metavar="PIPELINE")
@click.option("--a", metavar="SIDE", help="What A has other than what follows.")
@click.option("--b", required=True, metavar="SIDE", help="What B has: 'preprocess=dali, users=4'.")
@click.option("--rounds", type=ROUNDS, default="auto", help="Slices of each side; or stop early.")
@click.option("--slice", "slice_s", type=DURATION, default="1s", help="How long each is.")
@click.option("--budget", type=DURATION, default="5m", help="How long the slices may take.")
@results_option
@click.option("--format", type=click.Choice(FORMATS), default="text")
def command(
    pipeline: str,
    a: str | None,
    b: str,
    rounds: int,
    slice_s: float,
    budget: float,
    folder: Path,
    format: str,
    **common: Any,
) -> int:
    """Compare B with A: both stand ready and take turns of a second, in random order.

    A SIDE is key=value pairs: an option above, server, broker-url or claims-url as in `bench run`,
    repo (a model repository) or rev (a git revision).
    """
    sides = (
        read("a", a or "", pipeline=pipeline, common=common),
        read("b", b, pipeline=pipeline, common=common),
    )
    check_apart(*sides, option="--b")
    timing = Timing(slice_s, budget, rounds)
    timing.check()
    need_images(specs_of(side.settings for side in sides))
    how = {"into": folder, "timing": timing, "seed": common["seed"]}
    return show(once_more(lambda: experiment(sides, **how)), format=format)


def show(folder: Path, *, format: str) -> int:
    """Print the table, name the folder on stderr, and return the exit code."""
    interrupted = read_experiment(folder).stopped == "interrupted"
    try:
        made = of_experiment(folder)
        terminal.show(render(made, format=format), format=format)
    except ResultsError:
        if not interrupted:
            raise
    finally:
        say_where([folder])
    if interrupted:
        raise KeyboardInterrupt
    return 0 if made.valid else EXIT_INVALID
