"""Wheels of our own, which pip installs from a folder: no network is used."""

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, *, files: Mapping[str, bytes], more: str = ""
) -> Path:
    """Write a wheel of these files; `more` goes into its metadata."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
    built = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    about = {"METADATA": told.encode(), "WHEEL": built.encode(), "RECORD": b""}
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in {**files, **{f"{info}/{each}": about[each] for each in about}}.items():
            archive.writestr(file, data)
    return path
