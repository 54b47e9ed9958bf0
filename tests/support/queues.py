"""Queues in which nothing is measured, and runs of such: a server with a known capacity."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from experiments import S, manifest, write_run

from bench.record import folders
from bench.record.records import DROPPED
from bench.record.scenario import Settings, settings_of
from pipelines.spans import Request, Span

SERVERS, SERVICE_S = 2, 0.005
CAPACITY = SERVERS / SERVICE_S


def due_at(
    rate: float, length_s: float, chance: np.random.Generator, *, poisson: bool
) -> np.ndarray:
    """When requests are due, in seconds."""
    count = int(rate * length_s * 1.3) + 50
    due = np.cumsum(chance.exponential(1 / rate, count) if poisson else np.full(count, 1 / rate))
    return due[due < length_s]


def served(due: np.ndarray, *, most: float = np.inf) -> list[tuple[float, float] | None]:
    """When each is begun with and done by the servers, None of one that finds `most` under way."""
    free, under_way = [0.0] * SERVERS, list[float]()
    told: list[tuple[float, float] | None] = []
    for at in due.tolist():
        while under_way and under_way[0] <= at:
            heapq.heappop(under_way)
        if len(under_way) >= most:
            told.append(None)
            continue
        begun = max(at, heapq.heappop(free))
        heapq.heappush(free, begun + SERVICE_S)
        heapq.heappush(under_way, begun + SERVICE_S)
        told.append((begun, begun + SERVICE_S))
    return told


class Simulated:
    """Makes runs on such a queue, in the place of the real maker of a command; `settings` are those
    of the runs. One whose number is `interrupt_at` is a Ctrl-C. `absent` says that no server can be
    started any more.
    """

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.interrupt_at: int | None = None
        self.absent = False

    @contextlib.contextmanager
    def standing(self, pipeline: str, given: dict[str, Any]) -> Iterator[tuple[Settings, Any]]:
        """As of `bench.commands.target`."""
        assert not self.absent
        yield settings_of(given | {"pipeline": pipeline, "transport": "fake"}), self

    def __call__(
        self,
        settings: Settings,
        *,
        duration_s: float,
        results: Path,
        tick: Callable[[], None],
        enough: Callable[[Path], bool],
    ) -> Path:
        """As of a Maker."""
        del enough
        tick()
        if len(self.settings) == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt
        self.settings.append(settings)
        chance = np.random.default_rng(settings.seed)
        length_s = settings.warmup_s + duration_s
        if settings.rate:
            rate = float(settings.rate.removesuffix("/s"))
            due = due_at(rate, length_s, chance, poisson=settings.arrivals == "poisson")
            told = served(due, most=settings.users)
        else:  # all users always wait, and are at once asked again
            rate = min(settings.users, SERVERS) / SERVICE_S
            due = np.arange(0, length_s, 1 / rate)
            waits = max(settings.users / rate, SERVICE_S) - SERVICE_S
            told = [(at + waits, at + waits + SERVICE_S) for at in due.tolist()]
        made = [
            request(number, at, one) for number, (at, one) in enumerate(zip(due, told, strict=True))
        ]
        folder = folders.new_folder(results, "run")
        folder.rmdir()
        window = {
            "window_start_ns": round(settings.warmup_s * S),
            "window_end_ns": round(length_s * S),
        }
        asked = {name: getattr(settings, name) for name in Settings.__struct_fields__}
        return write_run(folder, manifest(folder.name, **asked, **window), made)


def request(number: int, due_s: float, told: tuple[float, float] | None) -> Request:
    """One as it would be recorded: its wait is the stage `queue` of the generator."""
    due = round(due_s * S)
    if told is None:
        return Request(f"dropped-{number}", "classification", *(due,) * 3, DROPPED, 0, 0, [], [], 0)
    begun, done = (round(at * S) for at in told)
    spans = [Span("queue", due, begun, "generator"), Span("inference", begun, done, "dnn")]
    return Request(f"r{number}", "classification", due, begun, done, None, 1, 1, spans, [], 0)
