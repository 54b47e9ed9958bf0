"""What several commands let their users choose, and how that is read."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.compare import thresholds
from bench.compare.randomization import FEWEST
from bench.record import folders
from bench.record.scenario import Settings
from pipelines.engines.choose import TRANSPORTS
from pipelines.servers.device import CPU, Device, parse
from pipelines.servers.sizing import Sizes, default_sizes
from pipelines.topologies.scenario import DURATION, Text, click_options, table


class Rounds(click.ParamType[int]):
    """A number of rounds of each side, or `auto`, which is 0."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        if value == "auto" or value == 0:
            return 0
        least = 2 * FEWEST
        if not str(value).isdecimal() or int(value) < least or int(value) % 2:
            self.fail(f"{value!r} is not auto, or an even number from {least} on", param, ctx)
        return int(value)


Command = Callable[..., Any]

OFFERED = tuple(name for name in TRANSPORTS if name != "plain")
"""The transports of `bench run`; `plain` needs the server that `bench selfcheck plain` starts."""

results_option = click.option(
    "--results",
    "folder",
    type=click.Path(path_type=Path),
    default=folders.RESULTS,
    help="Where the runs' folders go.",
)
"""The option of every command that makes runs."""


def run_options(
    *, duration: str, rounds: int | None = None, formats: Iterable[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the options of how its runs are made and shown, with its own defaults."""
    made = [click.option("--duration", type=DURATION, default=duration, help="Of each run.")]
    if rounds:
        one = click.IntRange(1)
        made.append(click.option("--rounds", type=one, default=rounds, help="Runs of each point."))
    made.append(results_option)
    if formats:
        offered = click.Choice(sorted(formats))
        made.append(click.option("--format", type=offered, default="text", help="On stdout."))
    return lambda command: functools.reduce(lambda given, add: add(given), reversed(made), command)


class Several(click.ParamType[list[str]]):
    """One or several names, separated by commas; `known` lists them, None allows any."""

    def __init__(self, known: Sequence[str] | None) -> None:
        self._known = known
        self.name = "|".join(known) if known else "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the list of names."""
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if self._known and name not in self._known:
                self.fail(f"unknown: {name!r}; known: {', '.join(self._known)}", param, ctx)
        if not names:
            self.fail("is empty", param, ctx)
        return names


DEVICE = Text("DEVICE", parse)
"""Where models run, on a command line."""


def scenario_options(
    *, several: Sequence[str] = (), without: Sequence[str] = (), **changes: dict[str, Any]
) -> list[click.Parameter]:
    """Return the options of a scenario's settings, but the pipeline; `changes` are of single ones.

    Those that are `several` take names, separated by commas.
    """
    changed: dict[str, dict[str, Any]] = {"device": {"type": DEVICE}}
    changed["transport"] = {"type": click.Choice(OFFERED)}
    for field in several:
        setting = table(Settings)[field]
        known = list(OFFERED if field == "transport" else setting.known)
        changed[field] = {"type": Several(known or None), "metavar": "NAMES"}
        if known:
            changed[field]["help"] = f"{setting.shown} Of {', '.join(known)}."
    for field, change in changes.items():
        changed[field] = changed.get(field, {}) | change
    return [*click_options(Settings, without=("pipeline", *without), **changed)]


def sizes_options(command: Command) -> Command:
    """Give a command the options that say how many instances of the models there are, and where."""
    made = (
        click.option(
            "--device",
            type=DEVICE,
            default=str(CPU),
            help="Where the DNNs run: cpu, gpu (the first one), or gpu:0,1.",
        ),
        click.option("--preprocess-instances", type=click.IntRange(1), help="[one per core]"),
        click.option(
            "--inference-instances", type=click.IntRange(1), help="[one per core; two per GPU]"
        ),
    )
    for option in reversed(made):
        command = option(command)
    return command


def sizes_of(device: Device, *, preprocess: int | None, inference: int | None) -> Sizes:
    """Return the sizes that these options ask for."""
    default = default_sizes(device)
    return Sizes(
        preprocess=preprocess or default.preprocess,
        inference=inference or default.inference,
        device=device,
    )


LIMIT = Text("limit", thresholds.parse)
"""A threshold on a command line."""
