"""Setup: locks are hashed and name no place, PIL/ has one owner, make knows its targets."""

import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from need import need
from processes import ROOT, run, write_program

LOCKS = sorted(ROOT.glob("requirements*.lock"))
SCRIPTS = [ROOT / "scripts" / "setup", ROOT / "scripts" / "gpu_run", ROOT / ".ci" / "run"]
TARGETS = (
    "help",
    "setup",
    "kafka",
    "demo",
    "serve",
    "test",
    "fuzz",
    "docs",
    "lint",
    "lock",
    "clean",
)


def names_in(lock: Path) -> list[str]:
    return re.findall(r"^([a-z0-9][\w.-]*)==", lock.read_text(), re.MULTILINE)


def test_there_are_three_locks() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-pillow-simd.lock",
        "requirements-server.lock",
        "requirements.lock",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_exact_and_hashed(lock: Path) -> None:
    pins = re.split(r"\n(?=\S)", lock.read_text().strip())
    for pin in pins:
        assert re.match(r"[a-z0-9][\w.-]*==[^ ]+ ", pin), pin[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin[:80]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_names_an_index_or_a_folder(lock: Path) -> None:
    text = lock.read_text()
    for word in ("://", "--index", "--extra-index", "--find-links", "file:", " @ ", " /"):
        assert word not in text


def test_the_main_lock_holds_pillow_and_its_own_tools_but_not_the_server() -> None:
    names = names_in(ROOT / "requirements.lock")
    assert {"pillow", "uv", "setuptools", "pybind11", "pytest"} <= set(names)
    assert {"pillow-simd", "nvidia-pytriton"}.isdisjoint(names)
    assert names_in(ROOT / "requirements-server.lock") == ["nvidia-pytriton"]
    assert names_in(ROOT / "requirements-pillow-simd.lock") == ["pillow-simd"]


def test_pil_has_exactly_one_owner() -> None:
    owners = set(metadata.packages_distributions()["PIL"])
    assert len(owners) == 1
    assert owners <= {"pillow", "pillow-simd"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_parse_and_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert run(("bash", "-n", script)).returncode == 0
    assert "set -euo pipefail" in script.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_is_content(script: Path) -> None:
    need("shellcheck")
    done = run(("shellcheck", script))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target: str) -> None:
    done = run(("make", "-n", target))
    assert done.returncode == 0, done.stderr


def test_make_alone_lists_the_targets() -> None:
    done = run(("make",))
    assert re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE) == list(TARGETS)


def run_setup(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of scripts/setup in `folder`, where it is expected to stop at once."""
    (folder / "scripts").mkdir(parents=True)
    setup = shutil.copy(SCRIPTS[0], folder / "scripts" / "setup")
    done = run((setup, *args), variables=env)
    assert done.returncode == 1
    assert not (folder / ".venv").exists()
    return done


@pytest.mark.parametrize(
    ("python", "cause"),
    [("no-such-python", "does not run"), ("bash", "does not run"), ("OLD", "is Python 3.8")],
)
def test_an_interpreter_that_does_not_fit_is_refused(
    tmp_path: Path, python: str, cause: str
) -> None:
    old = write_program(tmp_path / "python3.8", "echo 3.8")
    done = run_setup(tmp_path / "clone", PYTHON=str(old) if python == "OLD" else python)
    assert done.stderr.startswith("error: PYTHON=")
    assert cause in done.stderr
    assert "hint: name a Python 3.11, 3.12 or 3.13" in done.stderr


def test_a_folder_that_the_server_cannot_take_is_refused_before_any_download(
    tmp_path: Path,
) -> None:
    done = run_setup(tmp_path / "a clone")
    assert done.stderr.startswith("error: the path of this folder has a space")
    assert "hint: move the clone" in done.stderr


def test_setup_asked_for_anything_else_does_nothing(tmp_path: Path) -> None:
    assert "takes no arguments" in run_setup(tmp_path / "clone", "--help").stderr
