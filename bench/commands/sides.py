"""A side of an experiment as its user writes it: `preprocess=dali, users=4`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from bench.commands.options import may_load, scenario_options
from bench.record.scenario import Settings, settings_of
from bench.runs.experiments.side import Side
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import click_option, table

USERS = 4
"""Of each side in a closed loop: enough to load a server of few cores."""

_OWN = ("server", "broker", "claims")
"""What only a side can say: two sides with one of these in common would disturb each other."""

COMMON = scenario_options(
    without=_OWN,
    users={"help": f"{table(Settings)['users'].help}  [{USERS}; with a rate 64]"},
    warmup_s={"help": "How long each side runs at first."},
    seed={"help": "Of the blocks, and the order of images."},
)
"""What both sides have in common, where a side says nothing else: options of `bench run`."""

OWN = (
    click.Option(
        ["--repo", "repository"], type=click.Path(path_type=Path, exists=True, file_okay=False)
    ),
    click.Option(["--rev", "revision"]),
    *(click_option(name, table(Settings)[name]) for name in _OWN),
)
"""What only a side can say, as options."""

KEYS = {
    name.removeprefix("--"): option
    for option in (*COMMON, *OWN)
    for name in option.opts
    if name.startswith("--")
}
"""Each key of a side, and how its value is read."""


def read(name: Literal["a", "b"], text: str, *, pipeline: str, common: Mapping[str, Any]) -> Side:
    """Return the side: what both have in common, by parameter, and then what `text` says.

    Raises click.UsageError naming the side when a key or a value is wrong, or goes with no other.
    """
    from bench.prepare.images.sets import resolved  # here: what is stored needs no images

    values = {**common, **_parse(name, text)}
    settings = settings_of({**values, "pipeline": pipeline}, users=USERS)
    settings = msgspec.structs.replace(settings, images=resolved(settings.images))
    repository, revision = values.get("repository"), values.get("revision")
    may_load(settings.server)
    if settings.server and repository:
        raise click.UsageError(f"--{name}: server= has its own repository; leave repo= out")
    try:
        settings.check()
        settings.check_sizes()
        if settings.local:
            raise VisiontaxError(
                "the transport local takes no turns", hint="see 'bench run' or 'bench study ladder'"
            )
    except VisiontaxError as error:
        raise click.UsageError(f"--{name}: {error}; {error.hint}") from error
    return Side(name, text.strip(), settings, repository, revision)


def check_apart(a: Side, b: Side, *, option: str) -> None:
    """Raise click.UsageError of B's option when the sides would disturb each other."""
    for key in ("server", "broker"):
        given = getattr(a.settings, key) if a.settings.traced else None
        if given and given == getattr(b.settings, key):
            raise click.UsageError(f"{option}: both sides have the same {key}; each needs its own")


def _parse(name: str, text: str) -> dict[str, Any]:
    values = {}
    for part in re.split(r"[\s,]+(?=[^\s,=]+=)", text.strip()):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not equals or not value:
            raise click.UsageError(f"--{name}: {part!r} is not key=value; known: {', '.join(KEYS)}")
        if key not in KEYS:
            raise click.UsageError(f"--{name}: unknown key {key!r}; known: {', '.join(KEYS)}")
        option = KEYS[key]
        try:
            values[str(option.name)] = option.type.convert(value.rstrip(", "), option, None)
        except click.UsageError as error:
            raise click.UsageError(f"--{name}: {key}: {error.message}") from error
    return values
