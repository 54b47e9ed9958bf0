"""What is known of a setting, how it is read, and its option on a command line."""

import re
import typing
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from pipelines.engines import serving
from pipelines.engines.address import address_of
from pipelines.errors import VisiontaxError

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """Read `2s`, `500ms`, `1.5m`, `1h` or plain seconds. Raises VisiontaxError otherwise."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip())
    if parts is None:
        raise VisiontaxError(f"not a duration: {text!r}", hint="write it like 10s, 500ms or 2m")
    return float(parts[1]) * _UNITS_S[parts[2]]


def workers_of(text: str) -> tuple[int, int]:
    """Return how many workers of the first and of the second stage `2,1` or `2` asks for.

    Raises VisiontaxError when it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise VisiontaxError(
            f"not numbers of workers: {text!r}", hint="write 2,1 for two first and one second stage"
        )
    return int(parts[0]), int(parts[-1])


def address(text: str) -> str:
    """Return host:port of an address that may be written as a URL."""
    return text.rpartition("://")[2].rstrip("/")


class Text(click.ParamType[Any]):
    """A value on a command line, read by a function that raises VisiontaxError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value read; what is no text is one already."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except VisiontaxError as error:
            self.fail("; ".join(filter(None, (str(error), error.hint))), param, ctx)


@dataclass(frozen=True)
class Setting:
    """What the users of a setting must know of it.

    `kind` reads it on a command line. `known` are the values to choose from, where it has such.
    `default` is written the way a user writes it; `otherwise` says what holds without one.
    `with_broker` says that it means something with a broker only. `rank` is its place in the name
    of a run's folder, 0 when it is not in it. `also` is another name of its option.
    """

    help: str
    kind: Any = None
    known: Collection[str] = ()
    default: str | int | None = None
    otherwise: str = ""
    with_broker: bool = False
    rank: int = 0
    also: str = ""

    @property
    def type(self) -> Any:
        """How click reads one value."""
        return click.Choice(list(self.known)) if self.known else self.kind

    @property
    def shown(self) -> str:
        """The line of help, with the default that is no value."""
        return f"{self.help}  [{self.otherwise}]" if self.otherwise else self.help


DURATION = Text("duration", seconds)
ADDRESS = Text("host:port", address)
SERVER = Text("host:port or URL", lambda text: str(address_of(text)))
NAMED = Text("NAME, host:port or URL", serving.server)


def table(kind: type[msgspec.Struct]) -> dict[str, Setting]:
    """Return the settings of a struct by field; those in the name of a folder come first."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {
        field: extra
        for field in kind.__struct_fields__
        for extra in getattr(hints[field], "__metadata__", ())
        if isinstance(extra, Setting)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].rank or len(found)))


def flag(field: str) -> str:
    """Return the option of a setting; a unit is no part of it."""
    return f"--{field.removesuffix('_s').replace('_', '-')}"


def click_option(field: str, setting: Setting, **changes: Any) -> click.Option:
    """Return the setting as an option of a command, whose parameter is the field."""
    given = {
        "type": setting.type,
        "default": setting.default,
        "help": setting.shown,
        "show_default": setting.default is not None,
    }
    names = [flag(field), *([setting.also] if setting.also else []), field]
    return click.Option(names, **given | changes)


def click_options(
    kind: type[msgspec.Struct], *, without: Iterable[str] = (), **changes: dict[str, Any]
) -> list[click.Option]:
    """Return the options of a struct's settings; `changes` are those of single fields."""
    return [
        click_option(field, setting, **changes.get(field, {}))
        for field, setting in table(kind).items()
        if field not in without
    ]
