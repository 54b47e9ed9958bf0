"""From a study to its cells: every combination of its axes, as the settings of a run."""

import itertools
import math
import re
from collections.abc import Mapping

import msgspec

from bench.ledger.grid.measures import measure
from bench.ledger.grid.study import Given, Study, expanded, field_of, value_of
from bench.record.scenario import Settings, settings_of
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import flag, seconds, table

Entry = tuple[str, dict[str, Given]]
"""A value of an axis: what it is called, and the settings that it stands for."""

MOST = 2_000
"""So many cells are a mistake."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One combination: what it is called by axis, its settings, and the name of the cell that it
    is compared with, its own where it is that; empty where nothing is compared. `alone` are by
    measure the names of those with whose number its own is compared.
    """

    at: dict[str, str]
    settings: Settings
    beside: str = ""
    alone: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`fanout=4 topology=kafka`."""
        return " ".join(f"{axis}={label}" for axis, label in self.at.items())


def cells_of(study: Study, *, seed: int = 1) -> list[Cell]:
    """Return the cells, each once, with those that others are compared with.

    Raises VisiontaxError naming the axis, the setting or the cell that is wrong: what goes with
    nothing is found before anything runs.
    """
    axes = {name: _entries(study, name) for name in study.axes}
    _check(study)
    if (many := math.prod(map(len, axes.values()))) > MOST:
        raise VisiontaxError(f"{many:,} cells are too many", hint=f"a study has {MOST:,} at most")
    beside = _place(study, study.beside)
    places: dict[Settings, dict[str, Entry]] = {}
    found: dict[Settings, Cell] = {}
    for entries in itertools.product(*axes.values()):
        chosen = dict(zip(axes, entries, strict=True))
        cell = _cell(study, chosen, seed=seed)
        if _left_out(study, cell):
            continue
        _check_cell(cell)
        if beside:
            reference = _cell(study, chosen | beside, seed=seed)
            _check_cell(reference)
            reference = found.setdefault(reference.settings, reference)
            found[reference.settings] = msgspec.structs.replace(reference, beside=reference.name)
            cell = msgspec.structs.replace(cell, beside=reference.name)
        found.setdefault(cell.settings, cell)
        places.setdefault(cell.settings, chosen)
    if not found:
        raise VisiontaxError("the study has no cell", hint="each is matched by a leave-out")
    for of, at in study.alone.items():
        where = _place(study, at)
        for settings, chosen in places.items():
            other = _cell(study, chosen | where, seed=seed)
            if not _left_out(study, other):
                _check_cell(other)
                other = found.setdefault(other.settings, other)
                alone = found[settings].alone | {of: other.name}
                found[settings] = msgspec.structs.replace(found[settings], alone=alone)
    return list(found.values())


def groups_of(cells: list[Cell]) -> list[list[Cell]]:
    """Return the cells that are compared with each other, which are to follow each other."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        compared = cell.beside or next(iter(cell.alone.values()), "")
        found.setdefault(compared, []).append(cell)
    return list(found.values())


def _left_out(study: Study, cell: Cell) -> bool:
    return any(_matches(cell.at, rule) for rule in study.leave_out)


def _place(study: Study, at: Mapping[str, Given]) -> dict[str, Entry]:
    return {name: _entry(study, name, str(value)) for name, value in at.items()}


def _no_axis(study: Study, name: str) -> VisiontaxError:
    known = ", ".join(study.axes)
    return VisiontaxError(f"there is no axis {name!r}", hint=f"the study's axes: {known}")


def _settings() -> str:
    return ", ".join(flag(field)[2:] for field in table(Settings))


def _entries(study: Study, name: str) -> list[Entry]:
    axis = study.axes[name]
    labels = list(axis) if isinstance(axis, dict) else expanded(axis)
    if not labels:
        raise VisiontaxError(f"the axis {name} has no value")
    return [_entry(study, name, label) for label in labels]


def _entry(study: Study, name: str, label: str) -> Entry:
    axis = study.axes.get(name)
    if axis is None:
        raise _no_axis(study, name)
    if isinstance(axis, dict):
        if label not in axis:
            raise VisiontaxError(f"no {name}: {label!r}", hint=f"known: {', '.join(axis)}")
        return label, axis[label]
    return label, {name: label} if field_of(name) else {}


def _check(study: Study) -> None:
    """Raise VisiontaxError where a name is of nothing, and of what is no duration."""
    for duration in filter(None, (study.duration, study.quick.duration)):
        seconds(duration)
    used = " ".join(map(str, study.settings.values()))
    for name, axis in study.axes.items():
        if not isinstance(axis, dict) and not field_of(name) and f"{{{name}}}" not in used:
            raise VisiontaxError(
                f"the axis {name} is no setting, and no setting has {{{name}}} in it",
                hint=f"settings: {_settings()}",
            )
    line = [*study.line.of, study.line.against] if study.line else []
    for name in (*study.measures, *study.alone, *line):
        measure(name)
    shown = [one for one in (study.across, study.columns) if one]
    for name in itertools.chain(shown, *study.leave_out, study.line.over if study.line else ()):
        if name not in study.axes:
            raise _no_axis(study, name)


def _cell(study: Study, chosen: Mapping[str, Entry], *, seed: int) -> Cell:
    at = {name: label for name, (label, _) in chosen.items()}
    given: dict[str, Given] = {"seed": seed} | study.settings
    for _, own in chosen.values():
        given |= own
    names = {key: str(value) for key, value in given.items()} | at
    read = {}
    for key, text in given.items():
        field = field_of(key)
        if field is None:
            raise VisiontaxError(f"there is no setting {key!r}", hint=f"known: {_settings()}")
        read[field] = value_of(field, _filled(str(text), names))
    settings = settings_of(read)
    for name in at:  # where one setting decides another: nobody preprocesses a ready tensor
        value = getattr(settings, field_of(name) or "", None)
        at[name] = value if isinstance(value, str) else at[name]
    return Cell(at=at, settings=settings)


def _filled(text: str, names: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise VisiontaxError(f"in {text!r} {found[0]} is neither an axis nor a setting")
        return names[found[1]]

    return re.sub(r"\{([\w-]+)\}", value, text)


def _matches(at: Mapping[str, str], rule: Mapping[str, Given | list[Given]]) -> bool:
    return all(
        at[name] in map(str, value if isinstance(value, list) else [value])
        for name, value in rule.items()
    )


def _check_cell(cell: Cell) -> None:
    try:
        cell.settings.check()
    except VisiontaxError as error:
        raise type(error)(
            f"{cell.name}: {error}", hint="; ".join(filter(None, [error.hint, "or leave it out"]))
        ) from error
