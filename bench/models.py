"""Fills the model repository with what is built, not committed: weights, graphs, version folders.

What is there and correct is left alone; everything else is written beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from bench.mobilenetv2 import build_onnx
from bench.pth import read_state_dict
from bench.sources import DOWNLOADS, MEMBERS, read_members

REPOSITORY = Path("triton_repo")

# Raise it when the same source would be built into a different file.
_BUILDER_VERSION = 1


@dataclass(frozen=True)
class BuiltModel:
    """One built file of the repository. `reused` says that it was there already and correct."""

    name: str
    path: Path
    sha256: str
    reused: bool


def build_models(repo: Path, *, downloads: Path = DOWNLOADS) -> list[BuiltModel]:
    """Build what every model in `repo` lacks, and say what is there now.

    Raises SourceError when weights cannot be fetched into `downloads` or are not the pinned ones.
    """

    def write_mobilenetv2(path: Path) -> None:
        data = read_members(["mobilenet_v2"], downloads=downloads)["mobilenet_v2"]
        path.write_bytes(build_onnx(read_state_dict(data)))

    built = [
        _build(
            repo / "mobilenetv2" / "1" / "model.onnx",
            source=MEMBERS["mobilenet_v2"].sha256,
            write=write_mobilenetv2,
        )
    ]
    for config in sorted(repo.glob("*/config.pbtxt")):
        if _setting(config, "platform") == "ensemble":
            # Triton asks for a version folder even where there is nothing to put into it.
            (config.parent / "1").mkdir(exist_ok=True)
        elif _setting(config, "backend") == "dali":
            built.append(_build_dali(config.parent / "1" / "model.dali"))
    return built


def _build_dali(path: Path) -> BuiltModel:
    # Imported here because only these models need DALI. Serializing takes milliseconds and gives
    # the same bytes each time, so it is done anew rather than guessed from versions.
    from pipelines import dali_graph

    path.parent.mkdir(exist_ok=True)
    before = _sha256(path) if path.exists() else None
    digest = _replace(path, dali_graph.serialize)
    return BuiltModel(path.parent.parent.name, path, digest, reused=digest == before)


def _build(path: Path, *, source: str, write: Callable[[Path], None]) -> BuiltModel:
    """Have `write` make `path` unless its record says that it was made from `source` as now."""
    name, record = path.parent.parent.name, path.with_name("built.json")
    if path.exists() and record.exists():
        digest = _sha256(path)
        if record.read_bytes() == _record(source, digest):
            return BuiltModel(name, path, digest, reused=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = _replace(path, write)
    record.write_bytes(_record(source, digest))
    return BuiltModel(name, path, digest, reused=False)


def _replace(path: Path, write: Callable[[Path], None]) -> str:
    """Put what `write` writes in the place of `path`, all or nothing; return its sha256."""
    temporary = path.with_name(f"{path.name}.part")
    write(temporary)
    digest = _sha256(temporary)
    os.replace(temporary, path)
    return digest


def _record(source: str, digest: str) -> bytes:
    content = {"builder": _BUILDER_VERSION, "source_sha256": source, "sha256": digest}
    return json.dumps(content, indent=2).encode() + b"\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _setting(config: Path, key: str) -> str | None:
    """Return a top-level string of a config.pbtxt, or None when it is not set."""
    found = re.search(rf'^{key}\s*:\s*"([^"]*)"', config.read_text(), re.MULTILINE)
    return found[1] if found else None


@click.command("models")
@click.option(
    "--repo",
    type=click.Path(path_type=Path, file_okay=False),
    default=REPOSITORY,
    show_default=True,
    help="The model repository to fill.",
)
def command(repo: Path) -> None:
    """Build the models of the repository from pinned weights."""
    for model in build_models(repo):
        state = "kept " if model.reused else "built"
        click.echo(f"{state} {model.path} sha256 {model.sha256}")
