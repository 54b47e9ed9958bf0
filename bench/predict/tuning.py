"""Which setting is the better one: of several that are tried beside the one in use, round by round.

One round screens: what is slower there is left out. What is promising is judged by new rounds, so
that luck in the first one counts for nothing; it wins only where the interval excludes no gain.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from bench.compare.randomization import FEWEST, difference
from bench.ledger.quantiles import Quantile

Changes = dict[str, str]
"""Settings by the name of the option, as a command line has them."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a setting reached in each round, images/s: None where no run of it can be trusted."""

    changes: Changes
    per_s: list[float | None]
    mean_ms: list[float | None]

    @property
    def name(self) -> str:
        """`preprocess=pillow`; `default` without changes."""
        return named(self.changes)


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """An axis in one stage of the search: the setting in use, the first of the trials, and others.

    `ratios` are by the trial's name: throughput over that of the first one. `won` is the name of
    what is in use from then on, or goes on to be judged; empty where that is the first one.
    """

    axis: str
    stage: str
    trials: list[Trial]
    ratios: dict[str, Quantile]
    won: str = ""


SCREEN, JUDGE, FINAL = "screen", "judge", "final"
"""The stages: one round of all, some of the most promising one, and the whole against nothing."""


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to: `changes` to the `settings` that were given, empty where none won.

    `ratio` is the throughput over that of no change, by new rounds; None before they are made. Of
    `unfinished` more is to be walked.
    """

    schema: int
    settings: Changes
    machine: str
    heats: list[Heat]
    changes: Changes
    ratio: Quantile | None
    unfinished: bool
    command: list[str]


def named(changes: Changes) -> str:
    """Return what a setting with these changes is called."""
    return " ".join(f"{key}={value}" for key, value in changes.items()) or "default"


def _logs(first: Trial, other: Trial) -> list[float]:
    pairs = zip(first.per_s, other.per_s, strict=False)
    return [math.log(b / a) for a, b in pairs if a and b]


def ratio(first: Trial, other: Trial, *, seed: int = 1) -> Quantile | None:
    """Return the throughput of the other over the first, round by round, and the interval that has
    the true one with 95 %; without one of fewer rounds than tell the noise, None of none.
    """
    logs = _logs(first, other)
    if len(logs) < FEWEST:
        return Quantile(math.exp(sum(logs) / len(logs)), None, None, len(logs)) if logs else None
    found = difference(np.array(logs), seed=seed)
    return Quantile(found.ratio, found.low, found.high, found.blocks)


def heat(axis: str, stage: str, trials: Sequence[Trial], *, seed: int = 1) -> Heat:
    """Return what the trials come to: screened the fastest wins, judged only what surely is."""
    first, *others = trials
    ratios = {one.name: told for one in others if (told := ratio(first, one, seed=seed))}
    beyond = {name: told.value if stage == SCREEN else told.low for name, told in ratios.items()}
    better = {name: value for name, value in beyond.items() if value is not None and value > 1}
    won = max(better, key=lambda name: ratios[name].value or 0, default="")
    return Heat(axis=axis, stage=stage, trials=list(trials), ratios=ratios, won=won)
