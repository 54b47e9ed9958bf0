"""The folder of a study, which can be gone on with and read again.

study.json      what was asked: the study as it was after --set and --quick
cells.jsonl     a Done a line: the run of a cell in a round, or why there is none
RUN/            each run
index.html, table.md, table.csv
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.ledger.grid.cells import Cell, cells_of
from bench.ledger.grid.found import Found, found_of
from bench.ledger.grid.study import Study
from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.record import folders
from bench.record.files import as_json, read_lines, read_versioned, write_atomically
from pipelines.errors import ResultsError
from pipelines.topologies.setting import seconds

SCHEMA = 1
STUDY = "study.json"
CELLS = "cells.jsonl"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked; `lacking` is why this machine cannot run some cells, by the cell's name."""

    schema: int = SCHEMA
    name: str
    study: Study
    seed: int
    lacking: dict[str, str]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a cell in a round: the name of the run's folder, or an error."""

    cell: str
    round: int
    run: str | None = None
    error: str | None = None


class Kept:
    """The folder, and what it has in it."""

    def __init__(self, folder: Path, asked: Asked, done: list[Done]) -> None:
        self.folder, self.asked, self.done = folder, asked, done
        self.cells = cells_of(asked.study, seed=asked.seed)

    @staticmethod
    def begun(results: Path, asked: Asked) -> Kept:
        """Make a new one. Raises ResultsError as `new_folder` does."""
        folder = folders.new_folder(results, f"study-{asked.name}")
        write_atomically(folder / STUDY, as_json(asked) + b"\n")
        return Kept(folder, asked, [])

    @staticmethod
    def read(folder: Path) -> Kept:
        """Return one that was begun. Raises ResultsError when it is none, or damaged."""
        absent = ResultsError(
            f"{folder} is no study: it has no {STUDY}",
            hint="studies are the folders in results/ with -study- in their names",
        )
        named = f"{folder} has schema"
        asked = read_versioned(folder / STUDY, Asked, newest=SCHEMA, named=named, absent=absent)
        return Kept(folder, asked, read_lines(folder / CELLS, Done))

    def add(self, done: Done) -> None:
        """Append what came of a cell."""
        with (self.folder / CELLS).open("ab") as file:
            file.write(msgspec.json.encode(done) + b"\n")
        self.done.append(done)

    @property
    def runs(self) -> list[Path]:
        """The folders of the runs, in the order in which they were made."""
        return [self.folder / one.run for one in self.done if one.run]

    @property
    def duration_s(self) -> float:
        """How long each run measures."""
        return seconds(self.asked.study.duration)

    def by_round(self, cell: Cell) -> dict[int, Summary]:
        """Return the cell's runs by the round that each is of. Raises as `found`."""
        own = (one for one in self.done if one.cell == cell.name and one.run)
        return {one.round: summary_of(self.folder / str(one.run)) for one in own}

    def found(self) -> tuple[Found, list[Summary]]:
        """Return what the runs come to that there are, and those that stand for the points.

        Raises ResultsError as `summary_of` does.
        """
        runs: dict[str, list[Summary]] = {}
        failed: dict[str, str] = {}
        for one in self.done:
            if one.run:
                runs.setdefault(one.cell, []).append(summary_of(self.folder / one.run))
                failed.pop(one.cell, None)
            else:
                failed[one.cell] = one.error or ""
        found = found_of(
            self.asked.name,
            self.asked.study,
            self.cells,
            runs,
            lacking=sorted(set(self.asked.lacking.values())),
            failed=failed,
        )
        by_run = {one.run: one for own in runs.values() for one in own}
        return found, [by_run[point.shown] for point in found.points]
