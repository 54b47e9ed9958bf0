"""How a user describes the input of a model that visiontax does not know."""

import json
from typing import Any

import click

from bench.commands.options import together
from bench.prepare.own.guess import Asked
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import Text


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise VisiontaxError(f"not a size: {text!r}", hint="write WIDTHxHEIGHT, as 640x480")
    return int(parts[0]), int(parts[1])


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise VisiontaxError(f"not numbers: {text!r}", hint="write 0.5 or 0.1,0.2,0.3") from None


def _constant(text: str) -> tuple[str, tuple[float, ...]]:
    name, equals, values = text.rpartition("=")
    if not equals or not name:
        raise VisiontaxError(f"not a constant: {text!r}", hint="write NAME=VALUE[,VALUE]...")
    return name, _numbers(values)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise VisiontaxError(f"not an option: {text!r}", hint="write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


SIZE, NUMBERS = Text("WIDTHxHEIGHT", _size), Text("NUMBER[,NUMBER]...", _numbers)
CONSTANT, OPTION = Text("NAME=VALUES", _constant), Text("NAME=VALUE", _option)

input_options = together(
    click.option("--input", help="The input that is made of an image.  [the only one]"),
    click.option("--size", type=SIZE, help="Of the input, where the model leaves it open."),
    click.option(
        "--layout", type=click.Choice(["NCHW", "NHWC"]), help="The order of the input's sizes."
    ),
    click.option("--colour", type=click.Choice(["RGB", "BGR", "GRAY"]), help="[RGB]"),
    click.option("--range", type=float, help="White, before mean and deviation.  [1]"),
    click.option("--mean", type=NUMBERS, help="Of each colour; is subtracted.  [guessed]"),
    click.option("--deviation", type=NUMBERS, help="Of each colour; divides the rest.  [guessed]"),
    click.option("--fit", type=click.Choice(["centre", "stretch", "letterbox"]), help="[guessed]"),
    click.option("--constant", "constants", type=CONSTANT, multiple=True, help="A further input."),
)
"""Give a command these options."""


def asked_of(given: dict[str, Any]) -> Asked:
    """Return what was said, and take it out of the values given."""
    names = [name for name in Asked.__dataclass_fields__ if name in given]
    said = {name: given.pop(name) for name in names}
    for name in ("constants", "answer"):
        said[name] = dict(said.get(name) or ())
    return Asked(**said)
