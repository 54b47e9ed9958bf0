"""Two kinds of runs in interleaved rounds, so that drift of the machine hits both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

from bench.commands.options import results_option
from bench.record import records
from bench.report import terminal
from bench.report.formats import text_table
from bench.runs.order import abba
from bench.runs.progress import Progress
from bench.runs.run import OVERHEAD_S, Plan, execute
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import DURATION

T = TypeVar("T")
Command = Callable[..., None]


def options(*, rounds: int, duration: str) -> Callable[[Command], Command]:
    """Give a command the options that every comparison has, with its own defaults."""
    made = (
        click.option("--images", default="medium", help="An image set, or a folder of JPEGs."),
        click.option("--users", type=click.IntRange(1), default=16, help="Concurrent users."),
        click.option("--rounds", type=click.IntRange(1), default=rounds, help="Of each kind."),
        click.option("--duration", type=DURATION, default=duration, help="Of each round."),
        results_option,
    )

    def give(command: Command) -> Command:
        for option in reversed(made):
            command = option(command)
        return command

    return give


@dataclass(frozen=True)
class Throughputs:
    """Throughputs, requests per second, of both kinds, a pair a round."""

    a_per_s: list[float]
    b_per_s: list[float]

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Both throughputs of each round."""
        return list(zip(self.a_per_s, self.b_per_s, strict=True))

    @property
    def paired_ratio(self) -> float:
        """The median over rounds of A's throughput over B's in the same round."""
        return statistics.median(a / b for a, b in self.pairs)

    @property
    def ratio(self) -> float:
        """The median throughput of A over that of B."""
        return statistics.median(self.a_per_s) / statistics.median(self.b_per_s)


def interleave(a: Plan, b: Plan, *, rounds: int) -> Throughputs:
    """Run A and B `rounds` times each, in the order ABBA ABBA ..."""
    order = abba(a, b, rounds=rounds)
    length = a.settings.warmup_s + a.duration_s + OVERHEAD_S
    taken: dict[int, list[float]] = {id(a): [], id(b): []}
    with Progress(length * len(order)) as progress:
        for number, plan in enumerate(order, start=1):
            name = "A" if plan is a else "B"
            progress.step(f"[{number}/{len(order)}] {name} {plan.title}", seconds=length)
            taken[id(plan)].append(throughput(plan, tick=progress.tick))
            progress.done()
    return Throughputs(taken[id(a)], taken[id(b)])


def throughput(plan: Plan, *, tick: Callable[[], None]) -> float:
    """Make the run and return its requests per second, by the generator's own count."""
    manifest = records.read_manifest(execute(plan, tick=tick))
    if manifest.window_end_ns is None or not manifest.completed:
        raise VisiontaxError(
            f"no request of {plan.title} succeeded", hint=f"see results/{manifest.run}"
        )
    return manifest.completed / ((manifest.window_end_ns - manifest.window_start_ns) / 1e9)


def show(rounds: Throughputs, *, names: tuple[str, str]) -> None:
    """Print every round, the medians and their ratio."""
    title = f"requests/s, {len(rounds.a_per_s)} interleaved rounds (order ABBA)"
    medians = (statistics.median(rounds.a_per_s), statistics.median(rounds.b_per_s))
    rows = [
        *((str(n), f"{a:.1f}", f"{b:.1f}") for n, (a, b) in enumerate(rounds.pairs, start=1)),
        ("median", f"{medians[0]:.1f}", f"{medians[1]:.1f}"),
    ]
    ratios = (
        f"ratio of the medians, {names[0]} / {names[1]}: {rounds.ratio:.3f}",
        f"median of the rounds' ratios: {rounds.paired_ratio:.3f}",
    )
    table = text_table(("round", *names), rows, texts=0)
    terminal.show("\n".join([title, "", *table, "", *ratios]))
