"""`bench selfcheck generator`: how fast the load generator itself can go, and how late it is then.

All of it is against the fake engine that answers at once. What is found is kept, and later runs on
this machine are judged by it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.commands.options import run_options
from bench.commands.selfcheck.rounds import Tick, take_turns
from bench.ledger import units
from bench.ledger.quantiles import Quantile, needed, quantile
from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.record import generator_check, machine, records
from bench.record.generator_check import GeneratorCheck, Lateness
from bench.record.manifest import read_manifest
from bench.record.scenario import MOST_IN_FLIGHT, settings_of
from bench.report.document import terminal
from bench.report.document.text import text_table
from bench.report.words import INTERVALS
from bench.runs.progress import Progress
from bench.runs.run import OVERHEAD_S, Plan, execute
from pipelines.errors import VisiontaxError

USERS = 16
"""Of the closed loop."""

BEYOND_PER_S = 50_000
"""More than a process can ask: offered to each, it shows how much it can."""

COMMON_PER_S = 500.0
"""A rate at which the lateness is measured, whatever the highest one is."""

LOADS = (0.5, 0.8, 0.95)
"""Parts of the highest rate at which it is measured too."""

PARTS = (0.5, 0.99)
"""The quantiles of the lateness that are told."""

SETTLED = 0.75
"""This last part of the time at a rate counts."""

KINDS: dict[str, dict[str, Any]] = {
    "closed loop": {"users": USERS},
    "one process": {"rate": f"{BEYOND_PER_S}/s", "users": MOST_IN_FLIGHT},
    "two processes": {"rate": f"{2 * BEYOND_PER_S}/s", "users": 2 * MOST_IN_FLIGHT},
}
"""What is asked for in the runs that show the highest rate of each."""


def plan(results: Path, *, duration_s: float, processes: int = 1, **given: Any) -> Plan:
    """Return a run against the fake engine, which counts from its first moment."""
    fake = {"images": "small", "transport": "fake", "service_s": 0.0, "warmup_s": 0.0}
    return Plan(settings_of(fake | given), duration_s, results=results, processes=processes)


def highest(planned: Plan, tick: Tick) -> Summary:
    """Make a run that asks for as much as it can. Raises VisiontaxError where nothing came."""
    summary = summary_of(execute(planned, tick=tick))
    if not summary.throughput_per_s:
        raise VisiontaxError("the generator asked nothing", hint="give it a longer --duration")
    return summary


def lateness(
    results: Path, rates: Sequence[float], *, step_s: float, tick: Tick
) -> Iterator[Lateness]:
    """Make a run that has each rate for so long, and yield how late it was at each."""
    steps = ", ".join(f"{rate:.1f}/s for {step_s:g}s" for rate in rates)
    folder = execute(plan(results, duration_s=len(rates) * step_s, rate=steps), tick=tick)
    manifest = read_manifest(folder)
    start_ns = manifest.window_start_ns - round(manifest.settings.warmup_s * 1e9)
    found = [
        ((request.due_ns - start_ns) / 1e9 / step_s, span.end_ns - span.start_ns)
        for request in records.read_requests(folder)
        for span in request.spans
        if span.stage == "schedule" and request.error is None
    ]
    step, late_ns = np.array(found).reshape(-1, 2).T
    for number, rate in enumerate(rates, start=1):
        counts = (step >= number - SETTLED) & (step < number)
        if not counts.any():
            raise VisiontaxError(f"nothing was asked at {rate:.0f}/s", hint="try it again")
        late_ms = np.sort(late_ns[counts] / 1e6)
        p50, p99 = np.quantile(late_ms, PARTS)
        within = [_within(quantile(late_ms, part)) for part in PARTS]
        yield Lateness(rate, float(p50), float(p99), *within)


def _within(one: Quantile) -> tuple[float, float] | None:
    return None if one.low is None or one.high is None else (one.low, one.high)


def measure(results: Path, *, duration_s: float, rounds: int) -> GeneratorCheck:
    """Make the runs, and return what they come to. What disturbs one only makes it slower, so the
    fastest of the rounds says what the generator is able to do.
    """
    length_s = duration_s + OVERHEAD_S
    planned = {
        kind: plan(results, duration_s=duration_s, processes=1 + (kind == "two processes"), **given)
        for kind, given in KINDS.items()
    }
    kinds: Mapping[str, tuple[float, Callable[[Tick], Summary]]] = {
        kind: (length_s, partial(highest, one)) for kind, one in planned.items()
    }
    taken = take_turns(kinds, rounds=rounds)
    closed, one, two = (max(found, key=_per_s) for found in taken.values())
    rates = sorted([COMMON_PER_S, *(load * _per_s(one) for load in LOADS)])
    length_s = len(rates) * duration_s + OVERHEAD_S
    with Progress(length_s) as progress:
        progress.step("how late it is", seconds=length_s)
        late = [*lateness(results, rates, step_s=duration_s, tick=progress.tick)]
    share = one.generator_cpu_share
    return GeneratorCheck(
        checked=time.strftime("%Y-%m-%d"),
        machine=machine.machine(),
        versions=machine.versions(),
        closed_per_s=_per_s(closed),
        one_per_s=_per_s(one),
        two_per_s=_per_s(two),
        cpu_us=None if share is None else share / _per_s(one) * 1e6,
        lateness=late,
    )


def _per_s(summary: Summary) -> float:
    return summary.throughput_per_s


def told(check: GeneratorCheck) -> list[str]:
    """Return what was found, as lines of text."""
    cpu = "" if check.cpu_us is None else f"{check.cpu_us:.0f} us of a core a request"
    again = f"{check.two_per_s / check.one_per_s:.2f} times one"
    highest = [
        ("closed loop, one process", f"{check.closed_per_s:,.0f}", f"{USERS} users"),
        ("open loop, one process", f"{check.one_per_s:,.0f}", cpu),
        ("open loop, two processes", f"{check.two_per_s:,.0f}", again),
    ]
    late = [
        (
            f"{one.per_s:,.0f}",
            f"{one.per_s / check.one_per_s:.0%}",
            _late(one.p50_ms, one.p50_within_ms, part=PARTS[0]),
            _late(one.p99_ms, one.p99_within_ms, part=PARTS[1]),
        )
        for one in check.lateness
    ]
    return [
        "small images against the fake engine, which answers at once",
        "",
        *text_table(("highest rate of", "requests/s", ""), highest, texts=1),
        "",
        *text_table(("offered/s", "of one's", "late p50 ms", "late p99 ms"), late, texts=0),
        INTERVALS,
    ]


def _late(value: float, within: tuple[float, float] | None, *, part: float) -> str:
    needs = needed(part)
    told = Quantile(value, *within, needs) if within else Quantile(None, None, None, needs)
    return units.quantile(told)


@click.command()
@run_options(duration="3s", rounds=3)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where what is found is kept.  [build/generator.json]",
)
def command(duration: float, rounds: int, folder: Path, path: Path | None) -> None:
    """Measure the highest rate of the load generator, and how late it is near that."""
    check = measure(folder, duration_s=duration, rounds=rounds)
    terminal.show("\n".join(told(check)))
    path = path or generator_check.STORED
    generator_check.write(check, path)
    click.echo(f"kept in {path}: later runs on this machine are judged by it", err=True)
