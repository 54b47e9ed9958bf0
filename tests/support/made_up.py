"""Studies whose runs are made up and take no time."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bench.commands.cli import bench
from bench.commands.measuring import study
from bench.ledger.grid import kept
from bench.ledger.summary import Summary
from bench.record.scenario import Settings
from bench.runs import studying
from bench.runs.run import Plan


class MadeUp:
    """`bench`; `fails` gives the error that ends which run, `invalid` names values of settings,
    `dies` are the runs that leave no server, `built` are the image sets asked for, `plans` the runs
    `equipments` what was started together, and `stood` how often that was.

    `summary` is that of a run with the settings, in a folder of that name.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        results: Path,
        summary: Callable[[Settings, str], Summary],
    ) -> None:
        self._results, self._summary = results, summary
        self.fails: dict[int, BaseException] = {}
        self.dies: dict[int, BaseException] = {}
        self.invalid: frozenset[str] = frozenset()
        self.built: list[str] = []
        self.plans: list[Plan] = []
        self.equipments: list[list[Settings]] = []
        for name in ("execute", "equipped", "check_alive"):
            monkeypatch.setattr(studying, name, getattr(self, name))
        monkeypatch.setattr(kept, "summary_of", self.summary_of)
        monkeypatch.setattr(study, "need_images", self.build)

    def invoke(self, *arguments: object) -> Any:
        whole = [*map(str, arguments), "--results", str(self._results)]
        return CliRunner().invoke(bench, whole, standalone_mode=False)

    @property
    def folder(self) -> Path:
        """The study's."""
        (found,) = self._results.iterdir()
        return found

    @property
    def stood(self) -> int:
        """How often what runs need was started."""
        return len(self.equipments)

    def build(self, names: Sequence[str]) -> None:
        self.built = sorted(names)

    def equipped(self, chosen: Sequence[Settings]) -> Any:
        self.equipments.append([*chosen])
        return contextlib.nullcontext(
            [msgspec.structs.replace(one, server="there:8000") for one in chosen]
        )

    def execute(self, plan: Plan, *, tick: Callable[[], None]) -> Path:
        tick()
        self.plans.append(plan)
        number = len(self.plans) - 1
        if number in self.fails:
            raise self.fails[number]
        return plan.results / str(number)

    def check_alive(self, _: Settings) -> None:
        if error := self.dies.pop(len(self.plans) - 1, None):
            raise error

    def summary_of(self, folder: Path) -> Summary:
        settings = self.plans[int(folder.name)].settings
        valid = not self.invalid & {settings.place, settings.topology, settings.images}
        return msgspec.structs.replace(self._summary(settings, folder.name), valid=valid)
