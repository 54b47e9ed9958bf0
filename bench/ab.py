"""`bench ab`: is B better than A? Both stand ready, each with its own server, and take turns.

What the turns were stands in `ab.json`, beside the ordinary run folders `a` and `b`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bench import results
from bench.blocks import Enough, Record, Rounds, Timing, make_slices
from bench.checkouts import Checkout, checked_out, here
from bench.choices import results_option
from bench.compare import of_experiment
from bench.comparison import RATE
from bench.comparison_report import FORMATS, render
from bench.durations import Duration
from bench.images import need_images
from bench.paired import FEWEST, difference, is_sure
from bench.plan import name
from bench.reports import EXIT_INVALID
from bench.session import COOLDOWN_NS
from bench.sides import COMMON, Side, check_apart, read
from bench.slices import Observations, read_experiment
from bench.stand import Load, end, equipped
from pipelines import tasks
from pipelines.errors import ResultsError, VisiontaxError

REQUESTS_A_SLICE = 10
"""A slice should have room for as many requests of a user, one after the other."""

NARROW = 0.01
"""An interval that reaches no further from the ratio is narrow enough, as a part of it."""


def is_known(seen: Observations, looks: int) -> bool:
    """Whether the mean's ratio is surely not 1, or known within NARROW."""
    ratios = seen.logs("mean")
    if len(ratios) < FEWEST:
        return False
    found = difference(ratios)
    return is_sure(found, rate=RATE, looks=looks) or found.half_width <= NARROW


@contextlib.contextmanager
def _standing(
    sides: Sequence[tuple[Side, Checkout]], folder: Path, *, slice_s: float
) -> Iterator[dict[str, Load]]:
    """Yield the loads of both sides, by name: warm, paused, and each with its own server."""
    with equipped(sides) as addressed:
        loads: dict[str, Load] = {}
        try:
            for (side, at), settings in zip(sides, addressed, strict=True):
                run = folder / side.name
                run.mkdir()
                click.echo(f"warming up {side.title} ...", err=True)
                loads[side.name] = load = Load(side, settings, into=run, at=at)
                load.wait()
                load.take()
                time.sleep(settings.warmup_s)
                load.rest()
                _warn_of_few(side, load.check(), slice_s=slice_s)
            yield loads
        finally:
            if len(loads) == len(sides):
                time.sleep(COOLDOWN_NS / 1e9)  # a run's last second does not count
            end([load.process for load in loads.values()])
            for load in loads.values():
                load.close()


def experiment(
    sides: Sequence[Side], *, into: Path, timing: Timing, seed: int, enough: Enough = is_known
) -> Path:
    """Make the experiment and return its folder, also after a Ctrl-C amid the slices.

    It ends when that is `enough`, or the budget is spent.

    Raises VisiontaxError when a side does not start or none of its requests succeeds.
    """
    with contextlib.ExitStack() as stack:
        checkouts = [_checkout(side, stack) for side in sides]
        record = Record(results.new_folder(into, "ab"), sides, looks_at_most=len(timing.looks))
        both = list(zip(sides, checkouts, strict=True))
        with _standing(both, record.folder, slice_s=timing.slice_s) as loads:
            try:
                stopped = make_slices(loads, record, timing=timing, seed=seed, enough=enough)
                record.change(stopped=stopped)
            except KeyboardInterrupt:
                record.change(stopped="interrupted")
            except VisiontaxError:
                name([record.folder])  # what was measured until then is there
                raise
    return record.folder


def _warn_of_few(side: Side, latency_s: float, *, slice_s: float) -> None:
    """A request that is under way when a slice begins or ends does not count in it."""
    if latency_s * REQUESTS_A_SLICE > slice_s:
        click.echo(
            f"warning: a request of {side.title} takes {latency_s * 1e3:.0f} ms or more, so "
            f"few fit into a slice; take --slice {math.ceil(latency_s * REQUESTS_A_SLICE)}s",
            err=True,
        )


def _checkout(side: Side, stack: contextlib.ExitStack) -> Checkout:
    if side.revision is None:
        return here()
    click.echo(f"building revision {side.revision} ...", err=True)
    return stack.enter_context(checked_out(side.revision))


@click.command(params=list(COMMON))
@click.argument("pipeline", type=click.Choice(tasks.PIPELINES), metavar="PIPELINE")
@click.option("--a", metavar="SIDE", help="What A has other than what follows.")
@click.option("--b", required=True, metavar="SIDE", help="What B has: 'preprocess=dali, users=4'.")
@click.option("--rounds", type=Rounds(), default="auto", help="Slices of each side; or stop early.")
@click.option("--slice", "slice_s", type=Duration(), default="1s", help="How long each is.")
@click.option("--budget", type=Duration(), default="5m", help="How long the slices may take.")
@results_option
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text")
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
    need_images(side.settings.images for side in sides)
    made_in = experiment(sides, into=folder, timing=timing, seed=common["seed"])
    return show(made_in, format=format)


def show(folder: Path, *, format: str) -> int:
    """Print the table, name the folder on stderr, and return the exit code."""
    interrupted = read_experiment(folder).stopped == "interrupted"
    try:
        made = of_experiment(folder)
        click.echo(render(made, format=format))
    except ResultsError:
        if not interrupted:
            raise
    finally:
        name([folder])
    if interrupted:
        raise KeyboardInterrupt
    return 0 if made.valid else EXIT_INVALID
