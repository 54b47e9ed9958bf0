"""Git revisions of visiontax, checked out and built beside this one, ready to be measured.

Each is a git worktree `build/checkouts/<sha>` with a light virtual environment of its own: the
revision's code, and this environment's packages. It stays for the next time; the oldest go.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.record.scenario import Settings
from bench.runs.experiments.protocol import WORDS, Documents, Speech, speech_of
from bench.runs.run import LOAD
from pipelines import paths
from pipelines.errors import ServerError, VisiontaxError
from pipelines.processes import run

CHECKOUTS = paths.BUILD / "checkouts"
KEPT = 4
"""How many revisions that nobody uses any more stay built."""

SHARED = ("downloads", "images", "kafka", "libpython", "trace_shim.so")
"""What revisions have in common of build/; some of it may not be there."""

BUILD_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Checkout:
    """Where code of visiontax is, and the Python that runs it. `environment` is of its processes.

    `folder` is where its commands are started, `load` its locustfile.
    """

    folder: Path
    python: Path
    load: Path
    environment: dict[str, str]
    speaks: Speech = WORDS


def here() -> Checkout:
    """Return this checkout, as it is now, changes included."""
    speaks = Documents(Settings.__struct_fields__)
    return Checkout(Path.cwd(), Path(sys.executable), LOAD, dict(os.environ), speaks)


def resolve(revision: str, *, root: Path = paths.ROOT) -> str:
    """Return the full hash of the commit. Raises VisiontaxError when there is none of that name."""
    try:
        return _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}", at=root)
    except VisiontaxError as error:
        if shutil.which("git") is None:
            cure = "git is not installed: apt install git"
        elif not (root / ".git").exists():
            cure = "this is no checkout of git: clone the project, or compare with repo=PATH"
        elif (root / ".git" / "shallow").exists():
            cure = "this clone is shallow: fetch more history, with 'git fetch --unshallow'"
        else:
            cure = "name a commit, branch or tag that 'git log' shows here"
        said = f"there is no git revision {revision!r} in {root}"
        raise VisiontaxError(said, hint=cure) from error


@contextlib.contextmanager
def checked_out(
    revision: str, *, root: Path = paths.ROOT, into: Path = CHECKOUTS
) -> Iterator[Checkout]:
    """Yield the revision of the repository at `root`, built.

    Raises VisiontaxError when there is no such revision, when it does not build, or when its load
    cannot take turns.
    """
    sha = resolve(revision, root=root)
    into.mkdir(parents=True, exist_ok=True)
    with _locked(into / f"{sha}.lock") as lock:
        folder = into / sha
        try:
            made = _make(folder, sha, revision=revision, root=root)
        except BaseException:
            _remove(folder, root=root)
            raise
        os.utime(folder)
        fcntl.flock(lock, fcntl.LOCK_SH)  # others may measure it too, but nobody may remove it
        _remove_oldest(into, root=root)
        yield made


def _make(folder: Path, sha: str, *, revision: str, root: Path) -> Checkout:
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _git("worktree", "prune", at=root)  # it still knows a build/ that was removed
        _git("worktree", "add", "--detach", str(folder), sha, at=root)
    _share(folder / "build")
    made = Checkout(folder, _environment(folder), folder / "bench" / "load.py", _without_imports())
    speaks = speech_of(_said(made))
    if speaks is None and not _is_before_protocols(folder):
        raise VisiontaxError(
            f"revision {revision} cannot take turns with another: its load has no --paused",
            hint="compare revisions that have 'bench ab'; for older ones make runs in a checkout "
            "of each, and compare those",
        )
    _run([str(made.python), "-m", "bench", "models"], made, revision=revision)
    return dataclasses.replace(made, speaks=speaks or WORDS)


def _said(checkout: Checkout) -> str:
    """What the revision says that it speaks, empty where it has no word for that."""
    try:
        command = [str(checkout.python), "-m", "bench", "protocol"]
        return _call(command, at=checkout.folder, environment=checkout.environment)
    except VisiontaxError:
        return ""


def _is_before_protocols(folder: Path) -> bool:
    """Whether its load can be paused, though it has no `bench protocol`."""
    places = (folder / "bench" / "options.py", folder / "bench" / "generator" / "options.py")
    return any('"--paused"' in path.read_text(errors="replace") for path in places if path.exists())


def _share(build: Path) -> None:
    """Let the revision use what was fetched and made here: packages, images, services."""
    build.mkdir(exist_ok=True)
    for name in SHARED:
        link, ours = build / name, paths.BUILD / name
        if ours.exists() and not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(ours)


def _environment(folder: Path) -> Path:
    """Make the revision's virtual environment and return its Python.

    Its packages are this environment's, by their path alone: the editable install of this checkout
    is known only to its .pth files, which are not read there.
    """
    home = folder / ".venv"
    python = home / "bin" / "python"
    if not python.exists():
        _call([sys.executable, "-m", "venv", "--without-pip", str(home)], at=folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = [str(folder), *site.getsitepackages()]
    (home / "lib" / version / "site-packages" / "visiontax.pth").write_text("\n".join(paths) + "\n")
    told = Path(sys.prefix) / ".pillow-simd"  # for whom Pillow was built
    if told.is_file():
        shutil.copy(told, home / told.name)
    return python


def _without_imports() -> dict[str, str]:
    """The environment, without what would have Python find this checkout's code."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _run(command: Sequence[str], checkout: Checkout, *, revision: str) -> None:
    try:
        _call(command, at=checkout.folder, environment=checkout.environment)
    except VisiontaxError as error:
        raise ServerError(
            f"revision {revision} does not build: {error}",
            hint="check it out and run 'make setup' there to see more",
        ) from error


def _git(*arguments: str, at: Path) -> str:
    """Run git, without hooks, and return what it says. Raises VisiontaxError in its words."""
    # In a hook git's own variables would send it to another repository.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    return _call(command, at=at, environment=plain).strip()


def _call(command: Sequence[str], *, at: Path, environment: dict[str, str] | None = None) -> str:
    try:
        done = run(command, cwd=at, env=environment, timeout=BUILD_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VisiontaxError(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        raise VisiontaxError(_last_words(done.stderr))
    return done.stdout


def _last_words(said: str) -> str:
    """The error that a program ended with: ours, git's, or the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("error: ", "fatal: "))]
    return (telling or lines or ["it said nothing"])[-1].removeprefix("error: ")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock for as long as this."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _remove_oldest(into: Path, *, root: Path) -> None:
    """Remove the revisions that were used longest ago, but for KEPT and those in use."""
    folders = [path for path in into.iterdir() if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[KEPT:]:
        with contextlib.suppress(OSError), (into / f"{folder.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder, root=root)


def _remove(folder: Path, *, root: Path) -> None:
    """Remove a worktree, whole or half made. Git forgets what is no longer there."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(VisiontaxError):
        _git("worktree", "prune", at=root)
