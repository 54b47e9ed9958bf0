"""Other git revisions are built beside this one, run their own code, and stay for the next time."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from need import need_built
from processes import BENCH, ROOT, TIMEOUT_S, run

from bench.runs.experiments import checkouts
from bench.runs.experiments.checkouts import checked_out, resolve
from pipelines import paths
from pipelines.errors import VisiontaxError

BUILDS = """
import sys
from pathlib import Path

import click

Path("build/made-by").write_text(__file__)
try:
    import pipelines
except ImportError:
    sys.exit()
sys.exit("error: the other checkout's code is found")
"""


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose revision `good` builds at once."""
    folder = tmp_path / "repository"
    (folder / "bench").mkdir(parents=True)
    (folder / ".gitignore").write_text("/.venv/\n/build/\n__pycache__/\n")
    (folder / "bench" / "__init__.py").touch()
    (folder / "bench" / "__main__.py").write_text(BUILDS)
    (folder / "bench" / "options.py").write_text('add("--paused")\n')
    git(folder, "init", "--quiet")
    commit(folder, "good")
    git(folder, "tag", "good")
    return folder


def test_a_revision_is_built_by_its_own_code(repository, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with checked_out("good", root=repository, into=tmp_path / "into") as made:
        assert made.folder == tmp_path / "into" / git(repository, "rev-parse", "good")
        told = (made.folder / "build" / "made-by").read_text()
        assert told == str(made.folder / "bench" / "__main__.py")
        assert made.load == made.folder / "bench" / "load.py"
        assert git(made.folder, "status", "--porcelain") == ""


def test_a_revision_stays_for_the_next_time(repository, tmp_path) -> None:
    into = tmp_path / "into"
    with checked_out("good", root=repository, into=into) as made:
        (made.folder / "build" / "kept").touch()
    with checked_out("HEAD", root=repository, into=into) as again:
        assert again.folder == made.folder
        assert (again.folder / "build" / "kept").exists()


def test_a_removed_build_folder_is_made_again(repository, tmp_path) -> None:
    for _ in range(2):
        with checked_out("good", root=repository, into=tmp_path / "into") as made:
            assert made.python.exists()
        shutil.rmtree(tmp_path / "into")


def test_the_oldest_revisions_go(repository, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkouts, "KEPT", 1)
    into = tmp_path / "into"
    (repository / "more").touch()
    newer = commit(repository, "more")
    with (
        checked_out("good", root=repository, into=into) as used,
        checked_out(newer, root=repository, into=into) as made,
    ):
        assert used.python.exists()  # it is in use
    os.utime(used.folder, (0, 0))
    with checked_out(newer, root=repository, into=into):
        assert [path for path in into.iterdir() if path.is_dir()] == [made.folder]
    assert str(used.folder) not in git(repository, "worktree", "list")


def test_a_revision_that_does_not_exist_is_an_error(repository, tmp_path) -> None:
    for name in ("nowhere", "--help", "good:bench"):
        with pytest.raises(VisiontaxError, match="there is no git revision"):
            resolve(name, root=repository)
    with pytest.raises(VisiontaxError, match="there is no git revision"):
        resolve("HEAD", root=tmp_path)


def test_without_git_or_a_checkout_the_cure_is_to_have_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VisiontaxError, match="there is no git revision") as raised:
        resolve("HEAD", root=tmp_path)
    assert "clone the project" in raised.value.hint
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VisiontaxError, match="there is no git revision") as raised:
        resolve("HEAD", root=repository)
    assert "apt install git" in raised.value.hint


def test_a_shallow_clone_is_told_to_fetch_more(repository, tmp_path) -> None:
    (repository / "more").touch()
    commit(repository, "more")
    old = git(repository, "rev-parse", "good^{commit}")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repository}", "shallow")
    with pytest.raises(VisiontaxError, match="there is no git revision") as raised:
        resolve(old, root=tmp_path / "shallow")
    assert "fetch more history" in raised.value.hint


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("__main__.py", "import sys\nsys.exit('error: a wheel is gone')\n", "a wheel is gone"),
        ("__main__.py", "raise ValueError('of its own')\n", "ValueError: of its own"),
        ("options.py", "", "its load has no --paused"),
    ],
)
def test_a_revision_that_cannot_be_used_is_one_error(
    repository, tmp_path, file, text, told
) -> None:
    (repository / "bench" / file).write_text(text)
    commit(repository, "bad")
    into = tmp_path / "into"
    with (
        pytest.raises(VisiontaxError, match=rf"revision HEAD .*{told}"),
        checked_out("HEAD", root=repository, into=into),
    ):
        pytest.fail("it is not usable")
    assert [path for path in into.iterdir() if path.is_dir()] == []
    assert str(into) not in git(repository, "worktree", "list")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """This checkout as it is, committed; its branch `slow` has a slower decode."""
    folder = tmp_path / "copy"
    asked = ("ls-files", "--cached", "--others", "--exclude-standard")
    need_built((ROOT / ".git").exists(), "this is no git checkout", "git clone")
    for name in git(ROOT, *asked).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "build").mkdir()
    for name in ("downloads", "images"):
        (folder / "build" / name).symlink_to(paths.BUILD / name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "now")
    git(folder, "checkout", "--quiet", "-b", "slow")
    decoder = folder / "pipelines" / "preprocess" / "opencv.py"
    said = '"""Return the [height, width, 3] RGB pixels."""\n'
    assert said in decoder.read_text()
    decoder.write_text(
        decoder.read_text().replace(said, f"{said}        __import__('time').sleep(0.03)\n", 1)
    )
    commit(folder, "slow")
    git(folder, "checkout", "--quiet", "main")
    return folder


def test_a_slower_revision_is_measured_by_its_own_code(triton, copy) -> None:
    sides = ("--a", f"server={triton.url}", "--b", "rev=slow")
    timing = ("--warmup", "500ms", "--slice", "500ms", "--rounds", "6")
    asked = ("ab", "classification", "--images", "small", *sides, *timing, "--format", "json")
    done = run(BENCH, *asked, root=copy, timeout_s=2 * TIMEOUT_S)
    assert done.returncode in (0, 4), done.stderr  # 4 as it is where others take the cores
    found = json.loads(done.stdout)
    rows = {row["metric"]: row for row in found["rows"]}
    assert rows["stage.decode"]["b"] > max(30, 2 * rows["stage.decode"]["a"])
    (folder,) = (path for path in (copy / "results").iterdir() if path.name.endswith("-ab"))
    for side, branch in (("a", "main"), ("b", "slow")):
        told = json.loads((folder / side / "manifest.json").read_text())["revision"]
        assert told == git(copy, "rev-parse", branch)
