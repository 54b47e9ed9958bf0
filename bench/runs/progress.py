"""What is going on and how long it will still take: one line on stderr, rewritten on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bench.ledger.units import readable


class Progress:
    """Counts steps of known length. Without a terminal it prints one line a step."""

    def __init__(self, total_s: float) -> None:
        self._left_s = total_s
        self._terminal = sys.stderr.isatty()
        self._title = ""
        self._step_s = 0.0
        self._since = time.monotonic()

    def step(self, title: str, *, seconds: float) -> None:
        """Begin a step that should take `seconds`."""
        self._title, self._step_s, self._since = title, seconds, time.monotonic()
        if not self._terminal:
            print(f"{title}, {readable(self._left_s)} left", file=sys.stderr, flush=True)
        self.tick()

    def tick(self) -> None:
        """Show the time left."""
        if self._terminal:
            spent = time.monotonic() - self._since
            left = max(self._left_s - min(spent, self._step_s), 0.0)
            self._show(f"{self._title}, {readable(left)} left")

    def done(self) -> None:
        """End the step."""
        self._left_s = max(self._left_s - self._step_s, 0.0)
        self.clear()

    def clear(self) -> None:
        """Make room for other output."""
        if self._terminal:
            self._show("")

    def _show(self, text: str) -> None:
        print(f"\r\x1b[K{text[:99]}", end="", file=sys.stderr, flush=True)


def say_where(folders: Sequence[Path]) -> None:
    """Say on stderr where runs are."""
    for folder in folders:
        click.echo(f"results: {folder}", err=True)
