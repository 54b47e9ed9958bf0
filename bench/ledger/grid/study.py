"""A study as its file says it, in TOML; its keys are described in docs/studies.md.

A study is a grid: every combination of its axes' values. An axis is a setting with several values;
or named variants, each with settings of its own; or a free name, which settings have in braces:
`images = "{pipeline}-{fanout}"`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from bench.record.scenario import Settings, mix_of
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import flag, table

STUDIES = Path(__file__).parents[2] / "studies"
"""The studies that come with visiontax."""

Given = str | int | float
"""A value as a file or `--set` has it, written as on a command line."""

Axis = list[Given] | dict[str, dict[str, Given]]
"""The values of a setting, or named variants, each with its settings."""

Rounds = Annotated[int, msgspec.Meta(ge=1)]

MIXED = ("images", "pipeline")
"""The settings whose values may have a comma: a mix by weight is one."""

MEASURES = ("throughput", "mean", "p99", "not-inference")
"""What a study shows unless it says."""


class _Strict(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
): ...


class Quick(_Strict, frozen=True, kw_only=True):
    """What `--quick` changes; `set` as on a command line: `images = "small,large"`."""

    set: dict[str, str] = {}
    rounds: Rounds | None = None
    duration: str | None = None


class Line(_Strict, frozen=True, kw_only=True):
    """Straight lines: of each of the measures `of` against the measure `against`, through the cells
    that have one of the values of an axis in `over`, and are alike in all other axes.
    """

    of: list[str]
    against: str
    over: dict[str, list[Given]]


class Study(_Strict, frozen=True, kw_only=True):
    """What is asked, and how it is shown.

    `settings` are those of all cells. `beside` names, by axis, the cell with whose throughput each
    is compared: `images = "tensor"` is inference alone. `alone` names, by measure, the cell with
    whose number that of each is compared. Combinations that match one of `leave_out`
    are none. The first of the `measures` is what the headline is about. With `columns` there is a
    table for each measure, and a column for each value of that axis; with `across`, an axis of
    numbers, there are lines over it. `line` asks for straight ones.
    """

    title: str
    question: str
    axes: dict[str, Axis]
    settings: dict[str, Given] = {}
    beside: dict[str, Given] = {}
    alone: dict[str, dict[str, Given]] = {}
    line: Line | None = None
    leave_out: list[dict[str, Given | list[Given]]] = []
    measures: list[str] = msgspec.field(default_factory=lambda: list(MEASURES))
    across: str = ""
    columns: str = ""
    rounds: Rounds = 1
    duration: str = "3s"
    note: str = ""
    quick: Quick = Quick()


def known() -> dict[str, Study]:
    """Return the studies that come with visiontax, by name."""
    return {path.stem: read(path) for path in sorted(STUDIES.glob("*.toml"))}


def find(name: str) -> tuple[str, Study]:
    """Return the name and the study of that name, or in that file.

    Raises VisiontaxError when there is none, or when it cannot be read.
    """
    path = STUDIES / f"{name}.toml"
    if not path.is_file() or "/" in name:
        path = Path(name)
    if not path.is_file():
        names = ", ".join(sorted(one.stem for one in STUDIES.glob("*.toml")))
        raise VisiontaxError(f"there is no study {name!r}", hint=f"known: {names}; or name a file")
    return path.stem, read(path)


def read(path: Path) -> Study:
    """Read a study's file. Raises VisiontaxError naming the key that is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Study)
    except (msgspec.DecodeError, ValueError) as error:  # tomllib's own is a ValueError
        keys = ", ".join(map(str, msgspec.json.schema(Study)["$defs"]["Study"]["properties"]))
        raise VisiontaxError(f"{path}: {error}", hint=f"the keys of a study: {keys}") from error


def quickened(study: Study) -> Study:
    """Return what `--quick` makes of it."""
    quick = study.quick
    return msgspec.structs.replace(
        with_values(study, quick.set),
        rounds=quick.rounds or 1,
        duration=quick.duration or "1s",
    )


def with_values(study: Study, given: Mapping[str, str]) -> Study:
    """Return the study with other values of axes, separated by commas, or of settings that all
    cells share.

    Raises VisiontaxError when an axis of variants has none of that name.
    """
    axes, settings = dict(study.axes), dict(study.settings)
    for name, text in given.items():
        axis = axes.get(name)
        if axis is None:
            settings[name] = text
            continue
        parts = [text] if name in MIXED and mix_of(text) else text.split(",")
        values: list[Given] = [part.strip() for part in parts if part.strip()]
        if isinstance(axis, dict):
            if lost := [one for one in values if one not in axis]:
                raise VisiontaxError(f"no {name}: {lost[0]!r}", hint=f"known: {', '.join(axis)}")
            axes[name] = {str(one): axis[str(one)] for one in values}
        else:
            axes[name] = values
    return msgspec.structs.replace(study, axes=axes, settings=settings)


def field_of(key: str) -> str | None:
    """Return the field of the setting whose option is called `key`, None where there is none."""
    for field, setting in table(Settings).items():
        if f"--{key}" in (flag(field), setting.also):
            return field
    return None


def value_of(field: str, text: str) -> Any:
    """Return the setting's value as a command line reads it. Raises VisiontaxError."""
    kind = click.types.convert_type(table(Settings)[field].type)
    try:
        return kind.convert(text, None, None)
    except click.BadParameter as error:
        raise VisiontaxError(f"{flag(field)[2:]}: {error.message}") from error


def expanded(values: list[Given]) -> list[str]:
    """Return the values as texts, each once; `0..12` is all numbers from 0 to 12.

    Raises VisiontaxError when a range descends.
    """
    found: dict[str, None] = {}
    for value in map(str, values):
        ends = re.fullmatch(r"(\d{1,6})\.\.(\d{1,6})", value, re.ASCII)
        if ends is None:
            found[value] = None
            continue
        first, last = int(ends[1]), int(ends[2])
        if last < first:
            raise VisiontaxError(f"the range {value} descends", hint=f"write {last}..{first}")
        found |= dict.fromkeys(map(str, range(first, last + 1)))
    return list(found)
