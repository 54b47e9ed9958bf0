"""Makes an experiment: both sides stand ready, each with its own server, and take turns.

What the turns were stands in `ab.json`, beside the ordinary run folders `a` and `b`.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.compare.comparison import RATE
from bench.compare.gate import is_decided
from bench.compare.observations import Observations, read_experiment
from bench.compare.randomization import FEWEST, difference, is_sure
from bench.compare.thresholds import Threshold
from bench.generator.session import COOLDOWN_NS
from bench.record import folders
from bench.runs.equipment import crew
from bench.runs.experiments.blocks import Enough, Record, Timing, make_slices
from bench.runs.experiments.checkouts import Checkout, checked_out, here
from bench.runs.experiments.paused_load import DiedError, Load
from bench.runs.experiments.side import Side
from bench.runs.experiments.start import as_child, equipped
from bench.runs.progress import say_where
from pipelines.errors import VisiontaxError
from pipelines.processes import stop_all

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
    return is_sure(found.chance, rate=RATE, looks=looks) or found.half_width <= NARROW


@contextlib.contextmanager
def _standing(
    sides: Sequence[tuple[Side, Checkout]], folder: Path, *, slice_s: float
) -> Iterator[dict[str, Load]]:
    """Yield the loads of both sides, by name: warm, paused, and each with its own server."""
    with equipped(sides) as addressed, contextlib.ExitStack() as crews:
        loads: dict[str, Load] = {}
        try:
            for (side, at), settings in zip(sides, addressed, strict=True):
                run = folder / side.name
                run.mkdir()
                click.echo(f"warming up {side.title} ...", err=True)
                how = {"python": str(at.python), "arguments": at.speaks.worker, **as_child(at)}
                workers = crews.enter_context(crew(settings, name=f"worker-{side.name}", **how))
                loads[side.name] = load = Load(side, settings, into=run, at=at, workers=workers)
                load.wait()
                load.take()
                time.sleep(settings.warmup_s)
                load.rest()
                _warn_of_few(side, load.check(), slice_s=slice_s)
            yield loads
        finally:
            if len(loads) == len(sides):
                time.sleep(COOLDOWN_NS / 1e9)  # a run's last second does not count
            stop_all([load.child for load in loads.values()])
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
        record = Record(folders.new_folder(into, "ab"), sides, looks_at_most=len(timing.looks))
        both = list(zip(sides, checkouts, strict=True))
        with _standing(both, record.folder, slice_s=timing.slice_s) as loads:
            try:
                stopped = make_slices(loads, record, timing=timing, seed=seed, enough=enough)
                record.change(stopped=stopped)
            except KeyboardInterrupt:
                record.change(stopped="interrupted")
            except VisiontaxError:
                say_where([record.folder])  # what was measured until then is there
                raise
    return record.folder


def once_more(make: Callable[[], Path]) -> Path:
    """Make an experiment, and anew where a server ended by itself amid it: that says nothing of the
    sides. Raises DiedError the second time.
    """
    try:
        return make()
    except DiedError as error:
        click.echo(f"warning: {error}; it is started again, to measure once more", err=True)
        return make()


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


def measure_turns(sides: Sequence[Side], *, thresholds: Sequence[Threshold], **how: Any) -> Path:
    """Make an experiment that ends when it is decided, `how` as for one; return its folder.

    Raises VisiontaxError as an experiment does, KeyboardInterrupt after a Ctrl-C.
    """
    made = experiment(sides, enough=partial(is_decided, thresholds=thresholds), **how)
    if read_experiment(made).stopped == "interrupted":
        say_where([made])
        raise KeyboardInterrupt
    return made
