"""What killed processes left is removed, and nothing that may still be somebody's."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import PYTHON, run, until

from pipelines import processes

OTHER_CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
SWEEP = """
import sys
from pathlib import Path
from pipelines import processes
processes.sweep_shared_memory(Path(sys.argv[1]))
print("swept")
"""


@contextlib.contextmanager
def zombie() -> Iterator[int]:
    """The pid of a process that has ended, and that nobody waits for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    state = Path(f"/proc/{process.pid}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", "its end")
    yield process.pid
    process.wait()


@pytest.fixture
def dead() -> int:
    """The pid of a process that is gone."""
    with zombie() as pid:
        pass
    return pid


def region(owner: str) -> str:
    return f"{processes.PREFIX}-{owner}-0123-input"


def elsewhere(pid: int) -> str:
    """The tag of a process with this number in another container."""
    namespace, _, number = processes.owner(pid).partition("_")
    return f"{namespace[::-1]}_{number}"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_regions_of_the_dead_are_removed_and_no_others(tmp_path: Path, dead: int) -> None:
    kept = {
        region(processes.owner()),
        region(processes.owner(1)),
        region(elsewhere(dead)),
        f"{processes.PREFIX}-{dead}-input",
        f"other-{processes.owner(dead)}-input",
    }
    for name in (*kept, region(processes.owner(dead))):
        (tmp_path / name).touch()
    processes.sweep_shared_memory(tmp_path)
    assert names(tmp_path) == kept


def test_a_zombie_is_gone(tmp_path: Path) -> None:
    with zombie() as pid:
        (tmp_path / region(processes.owner(pid))).touch()
        processes.sweep_shared_memory(tmp_path)
    assert names(tmp_path) == set()


def test_the_region_of_another_users_dead_process_is_that_users_to_remove(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    (tmp_path / region(processes.owner(dead))).touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    processes.sweep_shared_memory(tmp_path)


def test_replies_to_the_dead_are_abandoned_and_no_others(dead: int) -> None:
    left = f"replies-{processes.owner(dead)}-0123"
    topics = [
        left,
        f"replies-{processes.owner()}-0123",
        f"replies-{elsewhere(dead)}-0123",
        "replies-echo",
        "faces-images",
        f"{processes.owner(dead)}-0123",
    ]
    assert processes.abandoned(topics, "replies") == [left]


@pytest.mark.parametrize("name", ["{}", "locust-{}"])
def test_folders_of_the_dead_lose_what_is_large(tmp_path: Path, dead: int, name: str) -> None:
    left = {name.format(tag) for tag in (dead, processes.owner(dead))}
    kept = {name.format(tag) for tag in (os.getpid(), processes.owner(), elsewhere(dead), "new")}
    for folder in left | kept:
        (tmp_path / folder / "data").mkdir(parents=True)
        (tmp_path / folder / "log").touch()
    processes.sweep_folders(tmp_path, name="data")
    assert names(tmp_path) == left | kept
    assert {path.parent.name for path in tmp_path.glob("*/data")} == kept
    assert len(list(tmp_path.glob("*/log"))) == len(left | kept)


def test_another_container_takes_no_process_of_ours_for_dead(tmp_path: Path) -> None:
    (tmp_path / region(processes.owner())).touch()
    done = run(OTHER_CONTAINER, PYTHON, "-c", SWEEP, tmp_path)
    if done.stderr.startswith("unshare:"):
        pytest.skip("only root may make a PID namespace: sudo make test")
    assert done.stdout == "swept\n", done.stderr
    assert names(tmp_path) == {region(processes.owner())}


def test_names_can_be_told_apart() -> None:
    assert processes.owner() == processes.owner(os.getpid())
    assert processes.owner(1) != processes.owner()
    assert "-" not in processes.owner()
