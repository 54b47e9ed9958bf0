"""Whatever a folder of results holds, each command answers it with a report or with one error."""

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import (
    DAMAGES,
    Damage,
    attached_folder,
    damaged,
    experiment_folder,
    files_of,
    run_folder,
)
from processes import FUZZ_S, bench

FORMATS = ("text", "json", "html", "md")
EXPORTS = ("otlp", "csv", "locust-csv")
"""As different as they come: the others are written by what these, or reports, are."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attached_folder(tmp_path_factory.mktemp("whole") / "attached")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiment_folder(tmp_path_factory.mktemp("whole") / "experiment")


def assert_answered(folder: Path, *, beside: Path, format: str, turn: int | None = None) -> None:
    """Each command that reads the folder, a run or an experiment, ends as it should; or the one
    whose turn it is.
    """
    shown, written = ("--format", format), beside.parent / "exported"
    if (folder / "a").exists():
        commands = [
            ("compare", folder, *(shown if format != "html" else ())),
            ("gate", folder, "--require", "p99 < +10%"),
        ]
    else:
        commands = [
            ("report", folder, *shown),
            ("trace", folder, "--output", beside.parent / "shown"),
            ("export", folder, "--to", EXPORTS[(turn or 0) % len(EXPORTS)], "--output", written),
            ("compare", beside, "--with", folder),
            ("gate", folder, "--require", "p99 < 1s"),
        ]
    for command in commands if turn is None else [commands[turn % len(commands)]]:
        done = bench(*command)
        assert done.returncode in (0, 1, 2, 3, 4)
        said = done.stderr.splitlines()
        errors = [line for line in said if line.startswith("error: ")]
        assert len(errors) == (done.returncode in (1, 2)), done.stderr
        assert "Traceback" not in done.stderr
        assert len(said) <= 3, done.stderr


@pytest.mark.parametrize("damage", dict.fromkeys(DAMAGES), ids=lambda damage: damage.__name__)
def test_each_damage_to_each_file_is_answered(
    run: Path, attached: Path, experiment: Path, tmp_path: Path, damage: Damage
) -> None:
    for whole in (run, attached, experiment):
        for turn, path in enumerate(files_of(whole), start=DAMAGES.index(damage)):
            if path.parent.name == "b":
                continue  # it is as A
            folder = tmp_path / "damaged"
            shutil.copytree(whole, folder)
            damage(random.Random(1), folder / path.relative_to(whole))
            assert_answered(folder, beside=run, format="text", turn=turn)
            shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["nothing", "a file", "no run"])
def test_what_is_no_run_is_said_in_the_same_words(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    if kind == "a file":
        folder.touch()
    elif kind == "no run":
        folder.mkdir()
    commands = [("report", folder), ("compare", folder), ("compare", folder, "--with", tmp_path)]
    if kind == "no run":  # else it may be a pipeline that is meant
        commands.append(("gate", folder, "--require", "p99 < 1s"))
    told = {bench(*command).stderr for command in commands}
    why = f"{folder} is not a run: it has no manifest.json"
    why = why if kind == "no run" else f"there is no folder {folder}"
    assert told == {f"error: {why}\nhint: runs are the folders in results/\n"}


@pytest.mark.fuzz
def test_no_damage_is_a_traceback(
    run: Path, attached: Path, experiment: Path, tmp_path: Path
) -> None:
    first = random.randrange(1 << 32)
    until = time.monotonic() + FUZZ_S
    seed = first
    while time.monotonic() < until:
        chance = random.Random(seed)
        whole = chance.choice((run, attached, experiment))
        with damaged(whole, tmp_path / "damaged", chance) as what, saying(f"seed {seed}: {what}"):
            assert_answered(tmp_path / "damaged", beside=run, format=chance.choice(FORMATS))
        seed += 1
    assert seed > first


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Say so of whatever goes wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
