"""Runs of which each depends on those before it, in a folder with a journal.

    search.json     what was asked for
    steps.jsonl     one Step a line: the load of each run that was made, and the run's folder
    RUN/            each run

A search that was cut off goes on from its journal: a run that is not in there is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from bench.record import folders
from bench.record.files import as_json, read_lines, read_versioned, write_atomically
from bench.record.manifest import read_manifest
from bench.record.scenario import Settings, title
from bench.runs.progress import Progress
from bench.runs.run import length_s
from pipelines.errors import ResultsError

SCHEMA = 1
SEARCH = "search.json"
STEPS = "steps.jsonl"


class Step(msgspec.Struct, frozen=True):
    """A run that was made: its load, a rate a second or users, and the name of its folder."""

    load: float
    run: str


class Asked(msgspec.Struct, frozen=True):
    """What a search is for: its `kind`, and all that it was asked, by the option."""

    schema: int
    kind: str
    asked: dict[str, str]


class Maker(Protocol):
    """Makes runs, one after the other, of one server that stands ready."""

    def __call__(
        self,
        settings: Settings,
        *,
        duration_s: float,
        results: Path,
        tick: Callable[[], None],
        enough: Callable[[Path], bool],
    ) -> Path:
        """Make a run with these settings in a folder of its own there, and return that."""


class Journal:
    """The folder of a search, and what it has in it."""

    def __init__(self, folder: Path, steps: list[Step]) -> None:
        self.folder, self.steps = folder, steps

    @staticmethod
    def begun(results: Path, kind: str, settings: Settings, asked: Mapping[str, str]) -> Journal:
        """Make a new one. Raises ResultsError as `new_folder` does."""
        folder = folders.new_folder(results, f"{kind}-{title(settings)}")
        write_atomically(folder / SEARCH, as_json(Asked(SCHEMA, kind, dict(asked))) + b"\n")
        return Journal(folder, [])

    @staticmethod
    def resumed(folder: Path, kind: str, asked: Mapping[str, str]) -> Journal:
        """Return one that was begun. Raises ResultsError when it asked for something else."""
        absent = ResultsError(
            f"{folder} is no search: it has no {SEARCH}",
            hint="searches are the folders in results/ with -curve- or -slo- in their names",
        )
        named = f"{folder} has schema"
        was = read_versioned(folder / SEARCH, Asked, newest=SCHEMA, named=named, absent=absent)
        now = {"kind": kind, **asked}
        before = {"kind": was.kind, **was.asked}
        other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if other:
            name = other[0]
            raise ResultsError(
                f"{folder} was made with another {name}: {before.get(name, 'none')}, and not "
                f"{now.get(name, 'none')}",
                hint="say the same as then, and --resume; or leave --resume out",
            )
        return Journal(folder, read_lines(folder / STEPS, Step))

    def add(self, step: Step) -> None:
        """Append a run that was made."""
        with (self.folder / STEPS).open("ab") as file:
            file.write(msgspec.json.encode(step) + b"\n")
        self.steps.append(step)

    @property
    def settings(self) -> Settings | None:
        """Those of its first run, None before it."""
        runs = [run for _, run in self]
        return read_manifest(runs[0]).settings if runs else None

    def __iter__(self) -> Iterator[tuple[float, Path]]:
        """Each run's load and folder."""
        for step in self.steps:
            yield step.load, self.folder / step.run


class Next(msgspec.Struct, frozen=True):
    """A run to be made: its load and settings, how it is called, how long it measures at most, and
    how long all takes that is to be done yet, with it.
    """

    load: float
    settings: Settings
    called: str
    duration_s: float
    left_s: float


def go_on(
    journal: Journal,
    make: Maker,
    following: Callable[[], Next | None],
    *,
    enough: Callable[[Next], Callable[[Path], bool]] = lambda _: lambda _: False,
) -> None:
    """Make runs until there is none `following`; each is in the journal before that is asked again.

    Shows progress and the time left on stderr. After a Ctrl-C the journal has the runs until then.
    """
    with Progress(0.0) as progress:
        while step := following():
            progress.expect(step.left_s)
            seconds = length_s(step.settings, step.duration_s)
            progress.step(f"[{len(journal.steps) + 1}] {step.called}", seconds=seconds)
            made = make(
                step.settings,
                duration_s=step.duration_s,
                results=journal.folder,
                tick=progress.tick,
                enough=enough(step),
            )
            journal.add(Step(step.load, made.name))
            progress.done()
