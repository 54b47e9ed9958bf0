"""Commands that measure, whose runs are made up and take no time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bench.commands.cli import bench
from bench.commands.measuring import grid
from bench.ledger.summary import Summary
from bench.record.scenario import Settings
from bench.runs.run import Plan


class MadeUp:
    """`bench COMMAND`; `fail_at` gives the error that ends which run, `invalid` names topologies
    or places, `built` are the image sets asked for and `plans` the runs.

    `summary` is that of a run with the settings, in a folder of that name.
    """

    fail_at: tuple[int, BaseException] | None = None
    invalid: frozenset[str] = frozenset()
    built: Sequence[str] = ()
    plans: Sequence[Plan] = ()

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        command: Sequence[str],
        results: Path,
        summary: Callable[[Settings, str], Summary],
    ) -> None:
        self._command, self._results, self._summary = command, results, summary
        for name in ("each_run", "summary_of", "equipped"):
            monkeypatch.setattr(grid, name, getattr(self, name))

    def invoke(self, *arguments: str) -> Any:
        whole = [*self._command, *arguments, "--results", str(self._results)]
        return CliRunner().invoke(bench, whole, standalone_mode=False)

    def build(self, names: Sequence[str]) -> None:
        self.built = list(names)

    def equipped(self, chosen: Sequence[Settings]) -> Any:
        return contextlib.nullcontext(
            [msgspec.structs.replace(one, server="there:8000") for one in chosen]
        )

    def each_run(self, plans: Sequence[Plan]) -> Iterator[Path]:
        self.plans = plans
        for number in range(len(plans)):
            if self.fail_at and number == self.fail_at[0]:
                raise self.fail_at[1]
            yield self._results / str(number)

    def summary_of(self, folder: Path) -> Summary:
        settings = self.plans[int(folder.name)].settings
        valid = not self.invalid & {settings.place, settings.topology}
        return msgspec.structs.replace(self._summary(settings, folder.name), valid=valid)
