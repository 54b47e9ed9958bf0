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
from pipelines.errors import VisiontaxError
from pipelines.servers.device import CPU, Device, parse
from pipelines.servers.sizing import Sizes, default_sizes
from pipelines.topologies.scenario import DURATION, Text, click_options, table


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
        made.append(click.option("--rounds", type=ONE, default=rounds, help="Runs of each point."))
    made.append(results_option)
    if formats:
        offered = click.Choice(sorted(formats))
        made.append(click.option("--format", type=offered, default="text", help="On stdout."))
    return together(*made)


class Several(Text):
    """One or several names, separated by commas; `known` lists them, None allows any."""

    def __init__(self, known: Sequence[str] | None) -> None:
        super().__init__("|".join(known) if known else "name", self._names)
        self._known = known

    def _names(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise VisiontaxError("is empty")
        for name in names:
            if self._known and name not in self._known:
                raise VisiontaxError(f"unknown: {name!r}", hint=f"known: {', '.join(self._known)}")
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


sizes_options = together(
    click.option("--device", type=DEVICE, default=str(CPU), help=table(Settings)["device"].help),
    click.option("--preprocess-instances", type=ONE, help="[one per core]"),
    click.option("--inference-instances", type=ONE, help="[one per core; two per GPU]"),
)
"""Give a command the options that say how many instances of the models there are, and where."""


def sizes_of(
    device: Device, preprocess_instances: int | None, inference_instances: int | None
) -> Sizes:
    """Return the sizes that these options ask for."""
    default = default_sizes(device)
    return Sizes(
        preprocess=preprocess_instances or default.preprocess,
        inference=inference_instances or default.inference,
        device=device,
    )


LIMIT = Text("limit", thresholds.parse)
"""A threshold on a command line."""
