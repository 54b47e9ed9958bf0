"""Spans of time as people write them: `10s`, `500ms`, `1 min 15 s`."""

from __future__ import annotations

import re
from typing import Any

import click

from pipelines.errors import VisiontaxError

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """Read `2s`, `500ms`, `1.5m`, `1h` or plain seconds. Raises VisiontaxError otherwise."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip())
    if parts is None:
        raise VisiontaxError(f"not a duration: {text!r}", hint="write it like 10s, 500ms or 2m")
    return float(parts[1]) * _UNITS_S[parts[2]]


def readable(duration_s: float) -> str:
    """Return 75 as `1 min 15 s`."""
    whole = round(duration_s)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


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
