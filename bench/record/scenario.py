"""The scenario: what a run measures, as settings."""

from __future__ import annotations

import re

import msgspec

from pipelines.errors import VisiontaxError

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """Read `2s`, `500ms`, `1.5m`, `1h` or plain seconds. Raises VisiontaxError otherwise."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip())
    if parts is None:
        raise VisiontaxError(f"not a duration: {text!r}", hint="write it like 10s, 500ms or 2m")
    return float(parts[1]) * _UNITS_S[parts[2]]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `server` is host:port of HTTP; for the fake engine, its service time.

    Only chains have a `topology`; only topologies with a broker have a `broker` (host:port) and
    workers: `workers` of the first and of the second stage, which takes up to `batch` crops at a
    time that travel in the form `crops`, by reference under the Redis at `claims`.
    `device` is where Triton ran the first DNN: cpu, or gpu:0,1.
    """

    pipeline: str = "classification"
    images: str = "medium"
    preprocess: str = "opencv"
    place: str = "server"
    transport: str = "http"
    users: int = 1
    warmup_s: float = 2.0
    server: str | None = None
    seed: int = 1
    topology: str | None = None
    broker: str | None = None
    crops: str = "raw"
    claims: str | None = None
    device: str = "cpu"
    workers: tuple[int, int] = (1, 1)
    batch: int = 8

    @property
    def traced(self) -> bool:
        """Whether there is a Triton whose trace can be had."""
        return self.transport not in ("fake", "plain")

    @property
    def brokered(self) -> bool:
        """Whether a broker and workers take part."""
        return self.topology not in (None, "fused", "direct")


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
