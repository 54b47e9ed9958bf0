"""How commands show what came of runs, and what they exit with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import click

from bench.ledger.summary import Summary
from bench.report.document import terminal
from pipelines.errors import VisiontaxError

EXIT_INVALID = 4


def exit_code(summaries: Sequence[Summary]) -> int:
    """Return what a command that reported these runs exits with."""
    return 0 if all(summary.valid for summary in summaries) else EXIT_INVALID


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Say on stderr by what command to go on, when what is done here is cut off or fails."""
    try:
        yield
    except (KeyboardInterrupt, VisiontaxError):
        click.echo(f"go on with: {command}", err=True)
        raise


class Render(Protocol):
    """What writes a report in a format."""

    def __call__(self, *, format: str) -> str: ...


def show_found(folder: Path, name: str, render: Render, *, format: str) -> None:
    """Print what was found by several runs, and write it as a page and as JSON beside them."""
    terminal.show(render(format=format), format=format)
    for kind in ("html", "json"):
        (folder / f"{name}.{kind}").write_text(render(format=kind) + "\n", encoding="utf-8")
    click.echo(f"results: {folder}", err=True)
    click.echo(f"the same as a page: {folder / name}.html", err=True)
