"""`bench slo`: the highest rate that holds a latency, with its interval and the evidence."""

import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.commands.options import ONE, run_options, scenario_options
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
from bench.ledger.reading import summary_of
from bench.predict.found import Found, Probed, found_of, undisturbed
from bench.predict.held import PARTS, Objective, held, needed
from bench.predict.points import latencies_ms, measured
from bench.predict.search import BELOW, SPENT, Terms, next_rate
from bench.record.scenario import MOST_IN_FLIGHT, OPEN, Settings
from bench.report.capacity import render_search
from bench.report.document.written import FORMATS
from bench.runs.early import Early
from bench.runs.run import length_s
from bench.runs.searching import Journal, Maker, Next, go_on
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import DURATION, Text

NOT_ASKED = ("folder", "format", "resume", "i_may_load_this_host", "lines", "budget")
"""What may be another when one is gone on with; headers may hold a secret, and are not kept."""

PILOT_S = 3.0
"""How long the closed loop measures that shows about how much comes through."""

START, HIGHEST = 0.8, 4.0
"""Of what comes through then: where the search begins, and where it gives up."""

USUAL = 9
"""About so many probes a search has."""

NOT_HELD = 3
"""The exit code where no rate holds the objective."""


def share_of(text: str) -> float:
    """Read `0.1%`, or a part of one. Raises VisiontaxError when it is neither."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    share = float(parts[1]) / (100 if parts[2] else 1) if parts else 1.0
    if not 0 <= share < 1:
        raise VisiontaxError(f"not a part of the requests: {text!r}", hint="write 0.1%, or 0.001")
    return share


SHARE = Text("PART", share_of)


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, part in reversed(PARTS.items()):
        help = f"The latency that {100 * part:g} % of the requests keep within."
        option = click.option(f"--{name}", name.replace(".", "_"), type=DURATION, help=help)
        command = option(command)
    return command


@click.command(
    params=scenario_options(
        without=(*OPEN, "think_s"),
        transport={"default": None, "help": "How requests travel.  [http; as the server can]"},
        users={"type": ONE, "help": "The most requests that are under way.  [64]"},
        warmup_s={"default": "2s"},
    )
)
@pipeline_argument
@_limit_options
@click.option("--max-error", type=SHARE, default="0.1%", help="Requests that may have no answer.")
@click.option("--within", type=SHARE, default="3%", help="How near the rate is to be known.")
@click.option("--budget", type=DURATION, default="5m", help="How long the probes may take.")
@target_options
@run_options(duration="20s", formats=FORMATS)
@resume_option
def command(
    pipeline: str | None,
    users: int | None,
    max_error: float,
    within: float,
    budget: float,
    duration: float,
    folder: Path,
    format: str,
    resume: Path | None,
    **given: Any,
) -> int:
    """Find the highest rate at which latencies are kept, such as --p99 100ms.

    Each probe is a run at a rate, until it is clear whether that is held, for --duration at most.
    Prints the rate with its interval, what comes through there, and which stage breaks first. Of a
    PIPELINE, or with --attach of a server.
    """
    said = {name: given.pop(name.replace(".", "_")) for name in PARTS}
    limits = {name: 1e3 * seconds for name, seconds in said.items() if seconds is not None}
    if not limits or not all(limits.values()):
        raise click.UsageError("say what is to be held, as --p99 100ms")
    if not 0 < within < 1:
        raise click.UsageError("--within is a part of the rate, as 3%")
    objective = Objective(limits, max_error)
    asked = said_options(NOT_ASKED)
    gone_on = Journal.resumed(resume, "slo", asked) if resume else None
    how: dict[str, Any] = {"duration_s": duration, "within": within}
    if gone_on and gone_on.settings:
        search = _Search(gone_on, objective, gone_on.settings, **how)
        if search.complete:
            return _code(search.show(format))
    with standing(pipeline, given | {"users": users or MOST_IN_FLIGHT}) as (settings, make):
        journal = gone_on or Journal.begun(folder, "slo", settings, asked)
        search = _Search(journal, objective, settings, **how)
        try:
            with resumable(f"the same command and --resume {journal.folder}"):
                search.measure(make, budget_s=budget)
        finally:
            found = search.show(format)
    return _code(found)


def _code(found: Found | None) -> int:
    if found is None or found.ended == SPENT or found.by_generator:
        return EXIT_INVALID
    return NOT_HELD if found.ended == BELOW else 0


class _Search:
    """A search that goes on; the first run, under the load 0, is a closed loop."""

    def __init__(
        self,
        journal: Journal,
        objective: Objective,
        settings: Settings,
        *,
        duration_s: float,
        within: float,
    ) -> None:
        self._journal, self._objective, self._settings = journal, objective, settings
        self._duration_s, self._within = duration_s, within
        self._probed: list[Probed] = []
        self._most: float | None = None
        self._until_s = 0.0

    @property
    def complete(self) -> bool:
        """Whether the rate is known, by whatever budget: then no server is needed."""
        self._read()
        probed = [one.probe for one in self._probed]
        return bool(self._most) and next_rate(probed, self._terms()) is None

    def measure(self, make: Maker, *, budget_s: float) -> None:
        """Probe until the rate is known, or the budget is spent."""
        self._until_s = time.monotonic() + budget_s
        go_on(self._journal, make, self._following, enough=self._enough)

    def _enough(self, step: Next) -> Callable[[Path], bool]:
        return Early(self._objective) if step.load else lambda _: False

    def _read(self) -> None:
        runs = list(self._journal)
        if runs and self._most is None:
            self._most = summary_of(runs[0][1]).throughput_per_s
        for load, run in runs[1 + len(self._probed) :]:
            probe = measured(run, load)
            verdict = undisturbed(held(self._objective, latencies_ms(run)), probe.summary)
            self._probed.append(Probed(probe, verdict))

    def _terms(self) -> Terms:
        """Raises VisiontaxError when nothing came through, or too little to tell anything."""
        most = self._most or 0.0
        if not most:
            raise VisiontaxError("nothing came through", hint="'bench run' says why")
        requests = needed(self._objective.limits_ms)
        floor, start = requests / self._duration_s, START * most
        if start < floor:
            raise VisiontaxError(
                f"a probe needs {requests:,} requests to tell its {self._objective.strictest}, and "
                f"about {units.number(most)} a second come through",
                hint=f"say --duration {requests / start:.0f}s, or limit a lower quantile",
            )
        return Terms(start, floor, HIGHEST * most, within=self._within)

    def _following(self) -> Next | None:
        self._read()
        number = len(self._journal.steps)
        if not number:
            called = f"{units.count(self._settings.users, 'user')}, to see what comes through"
            pilot = at(self._settings, seed=0)
            left_s = length_s(pilot, PILOT_S) + USUAL * length_s(pilot, self._duration_s / 2)
            return Next(0.0, pilot, called, PILOT_S, left_s)
        rate = next_rate([one.probe for one in self._probed], self._terms())
        settings = at(self._settings, rate=rate, seed=number)
        each_s = length_s(settings, self._duration_s)
        budget_s = self._until_s - time.monotonic()
        if rate is None or each_s > budget_s:
            return None
        left_s = max(each_s, min(budget_s, (USUAL - number) * each_s * 2 / 3))
        return Next(rate, settings, f"{units.number(rate)} requests/s", self._duration_s, left_s)

    def show(self, format: str) -> Found | None:
        """Print what is known by now; None when there is no probe yet."""
        self._read()
        if not self._probed or not self._most:
            return None
        found = found_of(
            self._probed,
            objective=self._objective,
            terms=self._terms(),
            settings=shared_of(self._probed[0].run.summary, self._settings),
            most_per_s=self._most,
        )
        told = functools.partial(render_search, found)
        show_found(self._journal.folder, "slo", told, format=format)
        return found
