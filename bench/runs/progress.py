"""What is going on and how long it will still take, on stderr: a bar on a terminal, else lines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from bench.ledger.units import clean, readable

if TYPE_CHECKING:
    from rich import progress


class Progress:
    """Counts steps of known length. Without a terminal it prints one line a step.

    As a context it leaves the terminal as it found it, however it ends.
    """

    def __init__(self, total_s: float) -> None:
        self._total_s = self._left_s = total_s
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = _bar(total_s) if terminal else None
        self._title = ""
        self._step_s = 0.0
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def expect(self, left_s: float) -> None:
        """Say how long all takes that is still to be done, where that was not known before."""
        done_s = self._total_s - self._left_s
        self._left_s, self._total_s = left_s, done_s + left_s
        if self._bar is not None:
            (task,) = self._bar.tasks
            self._bar.update(task.id, total=self._total_s)

    def step(self, title: str, *, seconds: float) -> None:
        """Begin a step that should take `seconds`."""
        self._title, self._step_s, self._since = clean(title), seconds, time.monotonic()
        if self._bar is None:
            print(f"{self._title}, {readable(self._left_s)} left", file=sys.stderr, flush=True)
        else:
            self._bar.start()
            self.tick()

    def tick(self) -> None:
        """Show the time left, drawn anew when another second has gone."""
        if self._bar is not None:
            spent = min(time.monotonic() - self._since, self._step_s)
            left = max(self._left_s - spent, 0.0)
            (task,) = self._bar.tasks
            said = f"{self._title}, {readable(left)} left"
            if said != task.description:
                done = self._total_s - left
                self._bar.update(task.id, description=said, completed=done, refresh=True)

    def done(self) -> None:
        """End the step."""
        self._left_s = max(self._left_s - self._step_s, 0.0)
        self.clear()

    def clear(self) -> None:
        """Make room for other output."""
        if self._bar is not None:
            self._bar.stop()


def _bar(total_s: float) -> progress.Progress:
    """A bar that only a tick draws, so that no thread of it runs while something is measured."""
    from rich import progress  # here, because it would cost every command its start
    from rich.console import Console

    said = progress.TextColumn("{task.description}", markup=False)
    bar = progress.Progress(
        *(said, progress.BarColumn()),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
    )
    bar.add_task("", total=total_s)
    return bar


def say_where(folders: Sequence[Path]) -> None:
    """Say on stderr where runs are."""
    for folder in folders:
        click.echo(f"results: {folder}", err=True)
