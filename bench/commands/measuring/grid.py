"""What the commands that measure share: a run for each of many settings, shown together."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from bench.commands.show import exit_code
from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.record.scenario import Settings
from bench.runs.equipment import equipped
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run


def measure(
    chosen: Sequence[Settings],
    show: Callable[[list[Summary]], Iterable[Path]],
    *,
    duration: float,
    results: Path,
) -> int:
    """Make a run with each of the settings, in that order, and return the exit code.

    `show` prints what they are and returns the files that it has written; when a run cannot be
    made, or after a Ctrl-C, it is of those that were.
    """
    made: list[Path] = []
    code = 0
    try:
        with equipped(chosen) as settings:
            for run in each_run([Plan(one, duration, results=results) for one in settings]):
                made.append(run)  # one by one: what was made counts also when the next one fails
    finally:
        if made:
            summaries = [summary_of(folder) for folder in made]
            files = show(summaries)
            say_where(made)
            for file in files:
                kind = "page" if file.suffix == ".html" else "file"
                click.echo(f"the same as a {kind}: {file}", err=True)
            code = exit_code(summaries)
    return code
