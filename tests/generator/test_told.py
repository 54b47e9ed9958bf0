"""A run's folder for what servers tell: made, emptied, and removed, whoever else has one."""

import os
import stat
import time
from pathlib import Path

import pytest
from processes import PYTHON, ended, started

from bench.generator.watching import own_spans
from bench.generator.watching.own_spans import OwnSpans
from pipelines import processes
from pipelines.servers import visiontax_spans


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(visiontax_spans.FOLDER, str(tmp_path / "spans"))
    monkeypatch.setattr(own_spans, "LAST_S", 0.0)
    return tmp_path / "spans"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_whole_lines_are_fetched_once(base: Path, run: Path) -> None:
    told = OwnSpans(run)
    (made,) = base.iterdir()
    os.utime(made, (0, 0))
    (made / "spans-7.jsonl").write_text("one\ntw")
    told.fetch()
    assert (run / "spans-7.jsonl").read_text() == "one\n"
    assert time.time() - made.stat().st_mtime < visiontax_spans.STALE_S
    (made / "spans-7.jsonl").write_text("one\ntwo\nth")
    (made / "spans-8.jsonl").write_text("eight\n")
    told.finish()
    assert (run / "spans-7.jsonl").read_text() == "one\ntwo\n"
    assert (run / "spans-8.jsonl").read_text() == "eight\n"
    assert not base.exists()


def test_a_run_that_was_killed_is_swept_and_one_that_goes_on_is_not(base: Path, run: Path) -> None:
    with started((PYTHON, "-c", ""), log=base.with_name("log")) as process:
        ended(process)
    left = base / f"{processes.PREFIX}-{processes.owner(process.pid)}-spans"
    other = base / f"{processes.PREFIX}-{processes.owner(1)}-spans"
    for each in (left, other):
        each.mkdir(parents=True)
    told = OwnSpans(run)
    assert not left.exists()
    told.finish()
    assert list(base.iterdir()) == [other]


def test_only_we_can_enter_unless_the_folder_is_everybodys(
    base: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = OwnSpans(run)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (base, *base.iterdir())} == {0o700}
    told.finish()
    base.mkdir()
    base.chmod(0o777)
    OwnSpans(run)
    assert [stat.S_IMODE(each.stat().st_mode) for each in base.iterdir()] == [0o777]
    monkeypatch.undo()


def test_without_a_folder_a_run_goes_on(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(visiontax_spans.FOLDER, str(tmp_path / "file"))
    told = OwnSpans(run)
    told.fetch()
    told.finish()
    assert "servers cannot tell of their own spans" in capsys.readouterr().err
    assert list(run.iterdir()) == []
