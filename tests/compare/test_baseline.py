"""`bench baseline`: what is kept is what was measured, and a bad run never replaces a good one."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from processes import ROOT

from bench.commands.comparing.baseline import FOLDER, command
from bench.compare.baseline import kept
from bench.ledger.reading import summary_of
from pipelines.errors import ResultsError, VisiontaxError

OURS = kept(ROOT / FOLDER)


def ask(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(
        command, ["--folder", str(folder), *map(str, arguments)], catch_exceptions=False
    )


def test_the_baseline_of_this_repository_is_valid_and_small() -> None:
    assert OURS
    assert all(summary_of(run).valid for run in OURS)
    size = sum(path.stat().st_size for run in OURS for path in run.iterdir())
    assert size < 3_000_000


def test_runs_are_kept_in_the_place_of_others(tmp_path: Path) -> None:
    run = tmp_path / "20261121-000000-copy"
    shutil.copytree(OURS[0], run)
    ask(tmp_path / "baseline", "set", OURS[0])
    done = ask(tmp_path / "baseline", "set", run)
    assert [path.name for path in kept(tmp_path / "baseline")] == [run.name]
    assert run.name in done.output
    assert summary_of(kept(tmp_path / "baseline")[0]) == summary_of(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.name, "baseline"]


def test_what_cannot_be_trusted_replaces_nothing(tmp_path: Path) -> None:
    folder, broken = tmp_path / "baseline", tmp_path / "broken"
    ask(folder, "set", OURS[0])
    shutil.copytree(OURS[0], broken)
    for requests in broken.glob("requests-*.jsonl"):
        requests.write_text("")
    with pytest.raises(VisiontaxError, match="INVALID"):
        ask(folder, "set", OURS[0], broken)
    with pytest.raises(ResultsError, match="not a run"):
        ask(folder, "set", tmp_path)
    assert [path.name for path in kept(folder)] == [OURS[0].name]


def test_it_is_shown_with_its_machine(tmp_path: Path) -> None:
    done = ask(ROOT / FOLDER, "show")
    assert done.output.startswith(f"measured on {summary_of(OURS[0]).machine}")
    assert "VALID" in done.output
    with pytest.raises(VisiontaxError, match="no baseline") as raised:
        ask(tmp_path, "show")
    assert "bench baseline set" in raised.value.hint
