"""What several commands let their users choose, and how that is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.compare import thresholds
from bench.compare.randomization import FEWEST
from bench.compare.thresholds import Threshold
from bench.record import folders
from bench.record.scenario import seconds, workers_of
from pipelines.engines.choose import TRANSPORTS
from pipelines.errors import VisiontaxError
from pipelines.servers.device import CPU, Device, parse
from pipelines.servers.sizing import Sizes, default_sizes
from pipelines.topologies.steps import MOST_CROPS


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


class Workers(click.ParamType[tuple[int, int]]):
    """How many workers each stage has."""

    name = "N,M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the two numbers."""
        try:
            return workers_of(value) if isinstance(value, str) else value
        except VisiontaxError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


class On(click.ParamType[Device]):
    """Where models run."""

    name = "DEVICE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the device."""
        try:
            return parse(value) if isinstance(value, str) else value
        except VisiontaxError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


def sizes_options(command: Command) -> Command:
    """Give a command the options that say how many instances of the models there are, and where."""
    made = (
        click.option(
            "--device",
            "on",
            type=On(),
            default=str(CPU),
            help="Where the DNNs run: cpu, gpu, or gpu:0,1.",
        ),
        click.option("--preprocess-instances", type=click.IntRange(1), help="[one per core]"),
        click.option(
            "--inference-instances", type=click.IntRange(1), help="[one per core; two per GPU]"
        ),
    )
    for option in reversed(made):
        command = option(command)
    return command


def sizes_of(on: Device, *, preprocess: int | None, inference: int | None) -> Sizes:
    """Return the sizes that these options ask for."""
    default = default_sizes(on)
    return Sizes(
        preprocess=preprocess or default.preprocess,
        inference=inference or default.inference,
        device=on,
    )


def stack_options(command: Command) -> Command:
    """Give a command the options that say what a run of a chain needs beside the load."""
    made = (
        click.option(
            "--broker-url", help="A running broker's host:port; without it one is started."
        ),
        click.option(
            "--workers", type=Workers(), default="1,1", help="Of the first and of the second stage."
        ),
        click.option(
            "--batch", type=click.IntRange(1, MOST_CROPS), default=8, help="Most crops taken."
        ),
        click.option(
            "--server", help="A running Triton's HTTP address; without it one is started."
        ),
    )
    for option in reversed(made):
        command = option(command)
    return command


class Duration(click.ParamType[float]):
    """A duration on the command line, as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text, or keep seconds."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return seconds(value)
        except VisiontaxError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)


DEFAULT_IMAGES = {"faces": "faces-4", "text": "text-4"}
"""What is asked with unless the user says; `medium` for the others."""


class Limit(click.ParamType[Threshold]):
    """A threshold on the command line."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the threshold."""
        if isinstance(value, Threshold):
            return value
        try:
            return thresholds.parse(value)
        except VisiontaxError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)
