"""Whose turn it is, and when that is enough: blocks of four slices, in the order ABBA or BAAB.

Which of the two is tossed for each block, so that drift of the machine hits both sides alike. The
data is looked at after so many blocks as `bench.compare.randomization` says, never in between.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from bench.compare.gate import RATE
from bench.compare.observations import EXPERIMENT, SCHEMA, Experiment, Observations, Slice, Watch
from bench.compare.randomization import FEWEST, looks
from bench.record import files
from bench.runs.experiments.paused_load import Load
from bench.runs.experiments.side import Side
from bench.runs.progress import Progress

Enough = Callable[[Observations, int], bool]
"""Whether what was seen answers the question, where the data may be looked at so many times."""

SETTLE_S = 0.1
"""How much of each slice's beginning does not count: caches and clocks find their pace again."""

HANDOVER_S = 0.1
"""About how long it takes from one side's last request to the other's first."""

ORDERS = ("abba", "baab")

FETCHED_S = 1.2
"""How long to wait before a look: what Triton has traced is fetched once a second."""


class Timing(msgspec.Struct, frozen=True):
    """How long a slice is, and all of them; `rounds` of each side, 0 as many as it takes."""

    slice_s: float
    budget_s: float
    rounds: int

    @property
    def blocks(self) -> int:
        """How many blocks there can be."""
        return self.rounds // 2 or int(self.budget_s / self.block_s)

    @property
    def block_s(self) -> float:
        """About how long a block takes."""
        return 4 * (self.slice_s + HANDOVER_S)

    @property
    def looks(self) -> list[int]:
        """After how many blocks the data is looked at."""
        return [self.blocks] if self.rounds else looks(self.blocks)

    def check(self) -> None:
        """Raise click.UsageError when nothing can come of it."""
        if self.slice_s <= 2 * SETTLE_S:
            raise click.UsageError(f"--slice: of each slice {SETTLE_S} s do not count; take longer")
        if self.blocks < FEWEST:
            raise click.UsageError(
                f"--budget: {FEWEST} blocks of four slices, the fewest that say anything, take "
                f"{math.ceil(FEWEST * self.block_s)} s"
            )


def timing_of(*, slice_s: float, budget: float, questions: int) -> Timing:
    """As many blocks as fit the budget. Raises click.UsageError when too few do."""
    timing = Timing(slice_s, budget, rounds=0)
    timing.check()
    fewest = math.ceil(math.log2(len(timing.looks) * questions / RATE))
    if timing.blocks < fewest:
        raise click.UsageError(
            f"--budget: fewer than {fewest} blocks of four slices cannot show a regression; "
            f"they take {math.ceil(fewest * timing.block_s)} s"
        )
    return timing


class Record:
    """What was done so far, in the folder's `ab.json` too: nothing is lost when this is cut off."""

    def __init__(self, folder: Path, sides: Sequence[Side], *, looks_at_most: int) -> None:
        self.folder = folder
        self._watch = Watch(folder)
        self._now = Experiment(
            schema=SCHEMA,
            a=sides[0].text,
            b=sides[1].text,
            settle_s=SETTLE_S,
            slices=[],
            looks_at_most=looks_at_most,
        )
        self.change()

    def change(self, **fields: Any) -> None:
        """Change these fields of it."""
        self._now = msgspec.structs.replace(self._now, **fields)
        files.write_atomically(self.folder / EXPERIMENT, files.as_json(self._now) + b"\n")

    def add(self, one: Slice) -> None:
        """Append a slice."""
        self.change(slices=[*self._now.slices, one])

    def look(self, block: int) -> Observations:
        """Return what was seen in so many blocks. Raises ResultsError as `Watch.look` does."""
        time.sleep(FETCHED_S)
        self.change(looks=[*self._now.looks, block])
        return self._watch.look()


def make_slices(
    loads: dict[str, Load], record: Record, *, timing: Timing, seed: int, enough: Enough
) -> Literal["sure", "budget"]:
    """Give the loads their turns until that is enough or the budget is spent; say which.

    Raises DiedError when a server has ended by itself.
    """

    def answered(block: int) -> bool:
        for load in loads.values():
            load.flush()
        return enough(record.look(block), len(timing.looks))

    toss = random.Random(f"{seed}/blocks")
    deadline = math.inf if timing.rounds else time.monotonic() + timing.budget_s
    progress = Progress(timing.blocks * timing.block_s)
    try:
        for number in range(1, timing.blocks + 1):
            began = time.monotonic()
            order = toss.choice(ORDERS)
            title = f"[{number}/{timing.blocks}] {' '.join(order.upper())}"
            progress.step(title, seconds=timing.block_s)
            for side in order:
                record.add(_turn(loads[side], block=number - 1, timing=timing))
                progress.tick()
            progress.done()
            for load in loads.values():
                load.confirm()
            if number in timing.looks[:-1] and answered(number):
                return "sure"
            if 2 * time.monotonic() - began > deadline:  # the next block would take too long
                break
        return "sure" if answered(number) else "budget"
    finally:
        progress.clear()


def _turn(load: Load, *, block: int, timing: Timing) -> Slice:
    start_ns = load.take()
    time.sleep(max(start_ns / 1e9 + timing.slice_s - time.monotonic(), 0))
    end_ns = time.monotonic_ns()
    load.rest()
    return Slice(block, load.side.name, start_ns, end_ns)
