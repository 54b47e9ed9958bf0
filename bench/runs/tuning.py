"""A search for the best setting, one axis at a time: each stage of it is a study in its folder.

    asked.json            what was asked for
    *-study-AXIS-screen   a round of all settings of an axis
    *-study-AXIS-judge    some more of the best one of them
    *-study-final         what came of all axes against no change
    tuned.toml            the setting that won, as a study that measures it against none again

A search that was cut off goes on from there: what was decided is decided again by the same runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from bench.ledger.grid.cells import Cell, cells_of
from bench.ledger.grid.kept import Asked, Kept
from bench.ledger.grid.study import Study
from bench.ledger.units import count, readable
from bench.predict.tuning import FINAL, JUDGE, SCREEN, Changes, Heat, Trial, Tuned, heat, named
from bench.record.files import as_json, read_versioned, write_atomically
from bench.record.scenario import SIZED, Settings
from bench.runs import studying
from bench.runs.run import length_s
from pipelines.errors import ResultsError, VisiontaxError
from pipelines.topologies.setting import flag, seconds

SCHEMA = 1
ASKED, TUNED = "asked.json", "tuned.toml"
ROUNDS, FINAL_ROUNDS = 3, 6
MOST_HELD = 0.5
"""About so many axes have a setting that is to be judged."""

IN_USE = "default"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: the `settings` of all runs, by option; what the search walks, by name the
    changes that are tried; how long each run measures, and what a seed gives the order of.
    """

    schema: int = SCHEMA
    settings: Changes
    axes: dict[str, list[Changes]]
    duration: str
    seed: int


class Search:
    """The folder of a search, and what came of it until now."""

    def __init__(self, folder: Path, wish: Wish) -> None:
        self.folder, self.wish = folder, wish
        self.heats: list[Heat] = []
        self.changes: Changes = {}
        self.machine = ""
        self.walked = False

    @staticmethod
    def begun(folder: Path, wish: Wish) -> Search:
        """Make a new one in an empty folder."""
        write_atomically(folder / ASKED, as_json(wish) + b"\n")
        return Search(folder, wish)

    @staticmethod
    def read(folder: Path) -> Search:
        """Return one that was begun. Raises ResultsError when it is none."""
        absent = ResultsError(
            f"{folder} is no search: it has no {ASKED}",
            hint="they are the folders in results/ with -tune- in their names",
        )
        named = f"{folder} has schema"
        wish = read_versioned(folder / ASKED, Wish, newest=SCHEMA, named=named, absent=absent)
        return Search(folder, wish)

    def walk(self, conduct: Callable[[Kept], None]) -> None:
        """Walk all axes, and have what won there prove itself. `conduct` makes a study's runs."""
        for at, (axis, tried) in enumerate(self.wish.axes.items(), start=1):
            others = self._possible(tried)
            if not others:
                continue
            said = f"{axis} ({at} of {len(self.wish.axes)})"
            self._say(said, others, left_s=self._left_s(axis))
            found = self._heat(axis, SCREEN, [self.changes, *others], 1, conduct)
            if found.won:
                best = next(one for one in others if named(one) == found.won)
                found = self._heat(axis, JUDGE, [self.changes, best], ROUNDS, conduct)
                self.changes = best if found.won else self.changes
        if self.changes:
            self._say(FINAL, [self.changes], left_s=self._left_s(FINAL))
            self._heat(FINAL, FINAL, [{}, self.changes], FINAL_ROUNDS, conduct)
        self.walked = True

    def _heat(
        self,
        axis: str,
        stage: str,
        settings: Sequence[Changes],
        rounds: int,
        conduct: Callable[[Kept], None],
    ) -> Heat:
        name = axis if stage == FINAL else f"{axis}-{stage}"
        begun = sorted(self.folder.glob(f"*-study-{name}"))
        kept = Kept.read(begun[0]) if begun else self._begun(name, axis, settings, rounds)
        conduct(kept)
        trials = [_trial(kept, cell, settings) for cell in _in_order(kept, settings)]
        found = heat(axis, stage, trials, seed=self.wish.seed)
        self.heats.append(found)
        self.machine = self.machine or (kept.found()[0].machine if kept.runs else "")
        return found

    def _begun(self, name: str, axis: str, settings: Sequence[Changes], rounds: int) -> Kept:
        study = self._study(axis, settings, rounds)
        lacking = {
            cell.name: str(error)
            for cell in cells_of(study, seed=self.wish.seed)
            if (error := studying.lacking(cell.settings))
        }
        asked = Asked(name=name, study=study, seed=self.wish.seed, lacking=lacking)
        return Kept.begun(self.folder, asked)

    def _study(self, axis: str, settings: Sequence[Changes], rounds: int) -> Study:
        first = named(settings[0])
        return Study(
            title=f"Tune: {axis}",
            question=f"Is another {axis} faster than {first}?",
            axes={"setting": {named(one): dict(one) for one in settings}},
            settings=dict(self.wish.settings),
            beside={"setting": first},
            measures=["throughput", "mean"],
            rounds=rounds,
            duration=self.wish.duration,
        )

    def _possible(self, tried: Sequence[Changes]) -> list[Changes]:
        """The changes, on top of those in use, that make another setting, and one that can be."""
        now, found = self._settings_of(self.changes), []
        for one in tried:
            changes = self.changes | one
            try:
                settings = self._settings_of(changes)
            except VisiontaxError:
                continue
            if settings != now and not studying.lacking(settings):
                found.append(changes)
        return found

    def _settings_of(self, changes: Changes) -> Settings:
        return cells_of(self._study("one", [changes], 1), seed=self.wish.seed)[0].settings

    def _left_s(self, axis: str) -> float:
        """About how long all takes from this axis on."""
        names = list(self.wish.axes)
        left = names[names.index(axis) :] if axis in names else []
        run_s = length_s(self._settings_of({}), seconds(self.wish.duration))
        total_s = 2 * FINAL_ROUNDS * run_s
        for name in left:
            tried = self.wish.axes[name]
            runs = 1 + len(tried) + MOST_HELD * 2 * ROUNDS
            starts = runs if any(flag(field)[2:] in one for one in tried for field in SIZED) else 1
            total_s += runs * run_s + starts * studying.START_S
        return total_s

    def _say(self, what: str, others: Sequence[Changes], *, left_s: float) -> None:
        said = f"{what}: {count(len(others), 'setting')} beside {named(self.changes)}"
        click.echo(f"{said}; about {readable(left_s)} left in all", err=True)

    def tuned(self) -> Tuned:
        """Return what it came to until now."""
        last = self.heats[-1] if self.heats else None
        proved = last if last and last.stage == FINAL else None
        won = {} if proved is None or not proved.won else self.changes
        return Tuned(
            schema=SCHEMA,
            settings=self.wish.settings,
            machine=self.machine,
            heats=self.heats,
            changes=won,
            ratio=next(iter(proved.ratios.values()), None) if proved else None,
            unfinished=not self.walked,
            command=_command(self.wish.settings | won),
        )

    def keep(self) -> Path | None:
        """Write what won as a study against no change; return its file, None where nothing has."""
        changes = self.tuned().changes
        if not changes:
            return None
        path = self.folder / TUNED
        study = self._study(FINAL, [{}, changes], FINAL_ROUNDS)
        write_atomically(path, _toml(study, changes).encode())
        return path


def _in_order(kept: Kept, settings: Sequence[Changes]) -> Iterator[Cell]:
    by_name = {cell.at["setting"]: cell for cell in kept.cells}
    yield from (by_name[named(one)] for one in settings)


def _trial(kept: Kept, cell: Cell, settings: Sequence[Changes]) -> Trial:
    changes = next(one for one in settings if named(one) == cell.at["setting"])
    runs = kept.by_round(cell)
    rounds = range(1, kept.asked.study.rounds + 1)
    told = [runs.get(round) for round in rounds]
    sure = [one if one and one.valid else None for one in told]
    return Trial(
        changes=dict(changes),
        per_s=[one.throughput_per_s if one else None for one in sure],
        mean_ms=[one.latency_ms.mean if one and one.latency_ms else None for one in sure],
    )


def _command(settings: Mapping[str, str]) -> list[str]:
    given = dict(settings)
    words = ["bench", "run", given.pop("pipeline")]
    return words + [word for key, value in given.items() for word in (f"--{key}", value)]


def _toml(study: Study, changes: Changes) -> str:
    """The study as a file: the setting that won, against none."""

    def table(values: Mapping[str, object]) -> str:
        return ", ".join(f"{key} = {_quoted(value)}" for key, value in values.items())

    return "\n".join(
        [
            f"title = {_quoted('Tuned')}",
            f"question = {_quoted('What does the setting bring that was found best?')}",
            f"measures = [{', '.join(map(_quoted, study.measures))}]",
            f"rounds = {study.rounds}",
            f"duration = {_quoted(study.duration)}",
            "\n[axes.setting]",
            f"{IN_USE} = {{}}",
            f"tuned = {{ {table(changes)} }}",
            "\n[beside]",
            f"setting = {_quoted(IN_USE)}",
            "\n[settings]",
            *(f"{key} = {_quoted(value)}" for key, value in study.settings.items()),
            "",
        ]
    )


def _quoted(value: object) -> str:
    """A basic string of TOML, which JSON's are."""
    return msgspec.json.encode(str(value)).decode()
