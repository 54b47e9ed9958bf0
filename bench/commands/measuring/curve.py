"""`bench curve`: what comes through and how late, load by load, with the knee and its cause."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import run_options, scenario_options
from bench.commands.show import EXIT_INVALID, resumable, show_found
from bench.commands.target import (
    at,
    pipeline_argument,
    resume_option,
    said_options,
    shared_of,
    standing,
    target_options,
)
from bench.ledger import units
from bench.predict.curve import Curve, curve_of, next_load, steps_left
from bench.predict.points import Measured, measured
from bench.record.scenario import MOST_IN_FLIGHT, OPEN, Settings
from bench.report.capacity import render
from bench.report.document.written import FORMATS
from bench.runs.run import length_s
from bench.runs.searching import Journal, Maker, Next, go_on
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import Text

SWEEPS = ("rate", "users")
NOT_ASKED = ("folder", "format", "resume", "i_may_load_this_host", "lines")
"""What may be another when a curve is gone on with; headers may hold a secret, and are not kept."""


def loads_of(text: str) -> list[float]:
    """Return the loads that `50,100,200` names. Raises VisiontaxError when they are none."""
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or not all(0 < one < math.inf for one in found):
        raise VisiontaxError(f"not loads: {text!r}", hint="write 50,100,200")
    return found


LOADS = Text("N,N,...", loads_of)
"""Loads on a command line, as they are to be made."""


@click.command(
    params=scenario_options(
        without=OPEN,
        transport={"default": None, "help": "How requests travel.  [http; as the server can]"},
        users={
            "type": LOADS,
            "help": "Of --sweep rate the most requests that are under way [64]; of --sweep users "
            "how many there are, one after the other [doubled until it grows no more].",
        },
        warmup_s={"default": "1s"},
    )
)
@pipeline_argument
@click.option(
    "--sweep", type=click.Choice(SWEEPS), default="rate", help="An open or a closed loop."
)
@click.option(
    "--rates", type=LOADS, help="Requests a second.  [ten, by what comes through at most]"
)
@target_options
@run_options(duration="6s", formats=FORMATS)
@resume_option
def command(
    pipeline: str | None,
    sweep: str,
    rates: list[float] | None,
    users: list[float] | None,
    duration: float,
    folder: Path,
    format: str,
    resume: Path | None,
    **given: Any,
) -> int:
    """Measure throughput and latency by rate, or by users, and find the knee.

    Shows what comes through, how late and why at each load, where throughput stops growing, with
    its interval, and which stage saturates there. Of a PIPELINE, or with --attach of a server.
    """
    if sweep == "users" and rates:
        raise click.UsageError("--rates are of --sweep rate; say --users of --sweep users")
    if sweep == "rate" and users and len(users) > 1:
        raise click.UsageError("several --users are of --sweep users")
    counts = [round(one) for one in users or []]
    most = counts[0] if counts and sweep == "rate" else MOST_IN_FLIGHT
    asked = said_options(NOT_ASKED)
    loads = rates if sweep == "rate" else [float(one) for one in counts]
    gone_on = Journal.resumed(resume, "curve", asked) if resume else None
    if gone_on and gone_on.settings:
        curve = _Curve(gone_on, sweep, loads or [], gone_on.settings, duration)
        if curve.complete:
            return _code(curve.show(format))
    with standing(pipeline, given | {"users": most}) as (settings, make):
        journal = gone_on or Journal.begun(folder, "curve", settings, asked)
        curve = _Curve(journal, sweep, loads or [], settings, duration)
        try:
            with resumable(f"the same command and --resume {journal.folder}"):
                curve.measure(make)
        finally:
            made = curve.show(format)
    return _code(made)


def _code(made: Curve | None) -> int:
    return 0 if made and valid(made) else EXIT_INVALID


def valid(curve: Curve) -> bool:
    """Whether the points up to the knee can be trusted: beyond it a run is to be INVALID."""
    last = curve.knee.at_low if curve.knee else math.inf
    return all(point.valid for point in curve.points if point.load < last)


class _Curve:
    """A curve that is being made; a load of 0 is the closed loop that it begins with."""

    def __init__(
        self,
        journal: Journal,
        sweep: str,
        asked: Sequence[float],
        settings: Settings,
        duration_s: float,
    ) -> None:
        self._journal, self._sweep, self._asked = journal, sweep, asked
        self._settings, self._duration_s = settings, duration_s
        self._done = [measured(run, load) for load, run in journal]

    @property
    def complete(self) -> bool:
        """Whether no run is lacking: then no server is needed."""
        return self._following() is None

    def measure(self, make: Maker) -> None:
        """Make the runs that are lacking."""
        go_on(self._journal, make, self._following)
        self._read()

    def _read(self) -> None:
        for load, run in list(self._journal)[len(self._done) :]:
            self._done.append(measured(run, load))

    def _following(self) -> Next | None:
        self._read()
        load = next_load(self._sweep, self._asked, self._done)
        if load is None:
            return None
        number = len(self._done)
        if self._sweep == "users":
            settings = at(self._settings, users=round(load), seed=number)
            called = units.count(round(load), "user")
        elif load:
            settings = at(self._settings, rate=load, seed=number)
            called = f"{units.number(load)} requests/s"
        else:
            settings = at(self._settings, seed=number)
            called = f"{units.count(settings.users, 'user')}, to see what comes through at most"
        each_s = length_s(settings, self._duration_s)
        left_s = each_s * steps_left(self._sweep, self._asked, number)
        return Next(load, settings, called, self._duration_s, left_s)

    def show(self, format: str) -> Curve | None:
        """Print what there is, and write its page; None when there is nothing yet."""
        self._read()
        runs: list[Measured] = [one for one in self._done if one.load]
        if not runs:
            return None
        shared = shared_of(runs[0].summary, self._settings if self._sweep == "rate" else None)
        curve = curve_of(runs, sweep=self._sweep, settings=shared, duration_s=self._duration_s)
        told = functools.partial(render, curve, [one.summary for one in runs])
        show_found(self._journal.folder, "curve", told, format=format)
        return curve
