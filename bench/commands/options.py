"""What several commands let their users choose, and how that is read."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.compare import thresholds
from bench.compare.randomization import FEWEST
from bench.generator.schedules import frames, rates
from bench.record import folders
from bench.record.foreign.ingested import COMPUTING
from bench.record.scenario import SIZED, Settings, mix_of
from pipelines.engines import address
from pipelines.engines.address import MAY_LOAD
from pipelines.engines.serving import SERVERS
from pipelines.errors import VisiontaxError
from pipelines.servers.device import CPU, parse
from pipelines.topologies.setting import DURATION, Text, click_options, flag, table


def _rounds(text: str) -> int:
    least = 2 * FEWEST
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) < least or int(text) % 2:
        raise VisiontaxError(f"{text!r} is not auto, or an even number from {least} on")
    return int(text)


ROUNDS = Text("auto|N", _rounds)
"""A number of rounds of each side, or `auto`, which is 0."""

Command = Callable[..., Any]
ONE = click.IntRange(1)
"""One or more."""


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return what gives a command all these options, in this order."""
    return lambda command: functools.reduce(
        lambda given, add: add(given), reversed(options), command
    )


results_option = click.option(
    "--results",
    "folder",
    type=click.Path(path_type=Path),
    default=folders.RESULTS,
    help="Where the runs' folders go.",
)
"""The option of every command that makes runs."""


def _stage(text: str) -> tuple[str, str]:
    model, equals, stage = text.rpartition("=")
    if not (model and equals) or stage not in COMPUTING:
        known = ", ".join(COMPUTING)
        raise VisiontaxError(f"{text!r} is not MODEL=STAGE", hint=f"stages: {known}")
    return model, stage


stage_option = click.option(
    "--stage",
    "given",
    multiple=True,
    type=Text("MODEL=STAGE", _stage),
    help="What a model computes; may be given several times.  [guessed by its name]",
)
"""The option of every command that is about models which visiontax does not know."""


def run_options(
    *, duration: str, rounds: int | None = None, formats: Iterable[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the options of how its runs are made and shown, with its own defaults."""
    made = [click.option("--duration", type=DURATION, default=duration, help="Of each run.")]
    if rounds:
        made.append(click.option("--rounds", type=ONE, default=rounds, help="Runs of each point."))
    made.append(results_option)
    if formats:
        offered = click.Choice(sorted(formats))
        made.append(click.option("--format", type=offered, default="text", help="On stdout."))
    return together(*made)


class Several(Text):
    """One or several names, separated by commas; `known` lists them, None allows any, and a mix of
    images is one.
    """

    def __init__(self, known: Sequence[str] | None) -> None:
        super().__init__("|".join(known) if known else "name", self._names)
        self._known = known

    def _names(self, text: str) -> list[str]:
        if self._known is None and mix_of(text):
            return [text]
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise VisiontaxError("is empty")
        for name in names:
            if self._known and name not in self._known:
                raise VisiontaxError(f"unknown: {name!r}", hint=f"known: {', '.join(self._known)}")
        return names


def _checked(read: Callable[[str], Any]) -> Callable[[str], str]:
    """Return what gives back a text that can be read."""

    def checked(text: str) -> str:
        read(text)
        return text

    return checked


_READ = {
    "rate": Text("RATE", _checked(rates.parse)),
    "cameras": Text("N@FPS", _checked(frames.parse)),
}
"""How settings are read that are kept as they were written."""

DEVICE = Text("DEVICE", parse)
"""Where models run, on a command line."""


def loading_option() -> click.Option:
    """Return the option by which a user says that a server elsewhere may be loaded."""

    def say(context: click.Context, _: click.Parameter, said: Any) -> None:
        context.meta[MAY_LOAD] = said

    return click.Option(
        [MAY_LOAD],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=say,
        help="The server is not on this host, and load is welcome.",
    )


def may_load(server: str | None) -> None:
    """Raise VisiontaxError where it is the address of a server elsewhere, and the user of this
    command has not said that it may be loaded.
    """
    if server is not None and server not in SERVERS:
        address.may_load(server, said=click.get_current_context().meta.get(MAY_LOAD, False))


def _loaded(_: click.Context, __: click.Parameter, server: str | None) -> str | None:
    may_load(server)
    return server


def scenario_options(
    *, several: Sequence[str] = (), without: Sequence[str] = (), **changes: dict[str, Any]
) -> list[click.Parameter]:
    """Return the options of a scenario's settings, but the pipeline; `changes` are of single ones.

    Those that are `several` take names, separated by commas. Where a `server` may be given, it may
    be elsewhere only if the user says that it may be loaded.
    """
    changed: dict[str, dict[str, Any]] = {"device": {"type": DEVICE}}
    changed["server"] = {"callback": _loaded}
    changed |= {field: {"type": how} for field, how in _READ.items()}
    for field in several:
        setting = table(Settings)[field]
        known = list(setting.known)
        changed[field] = {"type": Several(known or None), "metavar": "NAMES"}
        if known:
            changed[field]["help"] = f"{setting.shown} Of {', '.join(known)}."
    for field, change in changes.items():
        changed[field] = changed.get(field, {}) | change
    made = click_options(Settings, without=("pipeline", *without), **changed)
    return [*made, *([] if "server" in without else [loading_option()])]


sizes_options = together(
    click.option("--device", type=DEVICE, default=str(CPU), help=table(Settings)["device"].help),
    *(click.option(flag(name), type=ONE, help=table(Settings)[name].shown) for name in SIZED),
)
"""Give a command the options that say how many instances of the models there are, and where; what
they say is for `sizes_of`.
"""


LIMIT = Text("limit", thresholds.parse)
"""A threshold on a command line."""
