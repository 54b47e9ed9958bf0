"""Kinds of measurements that take turns, so that drift of the machine hits all alike."""

import statistics
from collections.abc import Callable, Mapping
from typing import TypeVar

import click

from bench.commands.options import ONE, Command, run_options, together
from bench.report.document import terminal
from bench.report.document.text import text_table
from bench.runs.order import mirrored
from bench.runs.progress import Progress

T = TypeVar("T")
Tick = Callable[[], None]


def options(*, rounds: int, duration: str) -> Callable[[Command], Command]:
    """Give a command the options that every comparison has, with its own defaults."""
    return together(
        click.option("--images", default="medium", help="An image set, or a folder of images."),
        click.option("--users", type=ONE, default=16, help="Concurrent users."),
        run_options(duration=duration, rounds=rounds),
    )


def take_turns(
    kinds: Mapping[str, tuple[float, Callable[[Tick], T]]], *, rounds: int
) -> dict[str, list[T]]:
    """Measure each kind once a round, the last one first in every second round.

    A kind is about how long it takes, in seconds, and what measures it: that calls its argument now
    and then, to show the time left.
    """
    turns = mirrored(list(kinds), rounds=rounds)
    taken: dict[str, list[T]] = {kind: [] for kind in kinds}
    with Progress(sum(kinds[kind][0] for kind in turns)) as progress:
        for number, kind in enumerate(turns, start=1):
            seconds, measure = kinds[kind]
            progress.step(f"[{number}/{len(turns)}] {kind}", seconds=seconds)
            taken[kind].append(measure(progress.tick))
            progress.done()
    return taken


def show(taken: Mapping[str, list[float]]) -> None:
    """Print the throughputs of both kinds in every round, their medians and ratios."""
    names, pairs = list(taken), list(zip(*taken.values(), strict=True))
    medians = [statistics.median(rates) for rates in taken.values()]
    paired = statistics.median(a / b for a, b in pairs)
    rows = [
        [str(title), *(f"{rate:.1f}" for rate in rates)]
        for title, rates in [*enumerate(pairs, start=1), ("median", medians)]
    ]
    lines = [
        *(f"requests/s, {len(pairs)} interleaved rounds (order ABBA)", ""),
        *(*text_table(("round", *names), rows, texts=0), ""),
        f"ratio of the medians, {' / '.join(names)}: {medians[0] / medians[1]:.3f}",
        f"median of the rounds' ratios: {paired:.3f}",
    ]
    terminal.show("\n".join(lines))
