"""What commands that made runs print in the end, and exit with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.report import terminal
from bench.report.run import render
from bench.runs.progress import say_where

EXIT_INVALID = 4


def exit_code(summaries: Sequence[Summary]) -> int:
    """Return what a command that reported these runs exits with."""
    return 0 if all(summary.valid for summary in summaries) else EXIT_INVALID


def show(folders: Sequence[Path], *, format: str) -> list[Summary]:
    """Print the report of the runs, name their folders on stderr, and return their summaries."""
    summaries = [summary_of(folder) for folder in folders]
    terminal.show(render(summaries, format=format), format=format)
    say_where(folders)
    return summaries
