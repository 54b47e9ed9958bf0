"""Two kinds of runs in interleaved rounds, so that drift of the machine hits both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench import results
from bench.durations import Duration
from bench.progress import Progress
from bench.run import OVERHEAD_S, Plan, execute
from pipelines.errors import VisiontaxError


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that every comparison has."""
    for option in reversed(
        (
            click.option("--images", default="medium", help="An image set, or a folder of JPEGs."),
            click.option("--users", type=click.IntRange(1), default=16, help="Concurrent users."),
            click.option("--rounds", type=click.IntRange(1), default=6, help="Runs of each kind."),
            click.option("--duration", type=Duration(), default="10s", help="Of each run."),
            click.option(
                "--results",
                "folder",
                type=click.Path(path_type=Path),
                default=results.RESULTS,
                help="Where the runs' folders go.",
            ),
        )
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Rounds:
    """Throughputs, requests per second, of both kinds, a pair a round."""

    a_per_s: list[float]
    b_per_s: list[float]

    @property
    def ratio(self) -> float:
        """The median throughput of A over that of B."""
        return statistics.median(self.a_per_s) / statistics.median(self.b_per_s)


def interleave(a: Plan, b: Plan, *, rounds: int) -> Rounds:
    """Run A and B `rounds` times each, in the order ABBA ABBA ..."""
    order = [plan for number in range(rounds) for plan in ((a, b) if number % 2 == 0 else (b, a))]
    length = a.settings.warmup_s + a.duration_s + OVERHEAD_S
    progress = Progress(length * len(order))
    taken: dict[int, list[float]] = {id(a): [], id(b): []}
    for number, plan in enumerate(order, start=1):
        name = "A" if plan is a else "B"
        progress.step(f"[{number}/{len(order)}] {name} {plan.title}", seconds=length)
        taken[id(plan)].append(throughput(plan, tick=progress.tick))
        progress.done()
    return Rounds(taken[id(a)], taken[id(b)])


def throughput(plan: Plan, *, tick: Callable[[], None]) -> float:
    """Make the run and return its requests per second, by the generator's own count."""
    manifest = results.read_manifest(execute(plan, tick=tick))
    if manifest.window_end_ns is None or not manifest.completed:
        raise VisiontaxError(
            f"no request of {plan.title} succeeded", hint=f"see results/{manifest.run}"
        )
    return manifest.completed / ((manifest.window_end_ns - manifest.window_start_ns) / 1e9)


def show(rounds: Rounds, *, names: Sequence[str]) -> None:
    """Print every round, the medians and their ratio."""
    a, b = names
    width = max(len(a), len(b), len("median"))
    click.echo(f"requests/s, {len(rounds.a_per_s)} interleaved rounds (order ABBA)\n")
    columns = [f"{number:>7}" for number in range(1, len(rounds.a_per_s) + 1)]
    click.echo(f"{'round':<{width}}{''.join(columns)}{'median':>9}")
    for name, values in ((a, rounds.a_per_s), (b, rounds.b_per_s)):
        cells = "".join(f"{value:7.1f}" for value in values)
        click.echo(f"{name:<{width}}{cells}{statistics.median(values):9.1f}")
    click.echo(f"\nratio of the medians, {a} / {b}: {rounds.ratio:.3f}")
