"""Fills the model repository with what is built, not committed: weights, graphs, configurations.

What is there and correct is left alone; everything else is written beside its place and renamed.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import onnx
from google.protobuf.message import DecodeError

from bench.prepare import repository
from bench.prepare.dnns import depth, mobilenetv2, of_pixels, shipped, tflite_onnx
from bench.prepare.packages import sha256_of
from bench.prepare.pins import DOWNLOADS, MEMBERS, read_members
from bench.record.files import as_json, write_atomically
from pipelines import tasks
from pipelines.servers import device
from pipelines.servers.device import CPU, Device
from pipelines.servers.sizing import PLAN
from pipelines.tasks import Dnn, Task, served

# Raise it when the same source would be built into a different file.
_BUILDER_VERSION = 2
_OF_PIXELS_VERSION = 1
_MODEL = "model.onnx"


@dataclass(frozen=True)
class BuiltFile:
    """One built file of a model. `reused` says that it was there already and correct."""

    model: str
    path: Path
    sha256: str
    reused: bool


@dataclass(frozen=True)
class _Recipe:
    """What a DNN is made from, a name in `MEMBERS`, and what makes each file of those bytes."""

    source: str
    files: dict[str, Callable[[bytes, Dnn], bytes]]


RECIPES = {
    "centerface": _Recipe("centerface", {_MODEL: shipped.build_face_detector}),
    "depth_untrained": _Recipe("mobilenet_v2", {_MODEL: depth.build}),
    "mobilefacenet": _Recipe("mobilefacenet", {_MODEL: tflite_onnx.build}),
    "mobilenetv2": _Recipe("mobilenet_v2", {_MODEL: mobilenetv2.build}),
    "ppocr_det": _Recipe("ppocr_det", {_MODEL: shipped.build_detector}),
    "ppocr_rec": _Recipe(
        "ppocr_rec", {_MODEL: shipped.build_reader, "charset.txt": shipped.list_characters}
    ),
    "selfie_segmentation": _Recipe("selfie_segmentation", {_MODEL: tflite_onnx.build}),
}
"""By the name of the model."""


def build_models(repo: Path, *, downloads: Path = DOWNLOADS, on: Device = CPU) -> list[BuiltFile]:
    """Build what the models of the tasks lack in `repo`, and say what is there now.

    For a GPU that includes what preprocesses there. A DNN that we have no recipe for is the user's
    own, and left alone. Raises ServerError when the GPU is not there, SourceError when weights
    cannot be fetched into `downloads` or are not the pinned ones.
    """
    device.require(on)
    repository.write(repo, device=on)
    recipes = {dnn: RECIPES[dnn.model] for dnn in tasks.dnns() if dnn.model in RECIPES}
    built = [
        file
        for dnn, recipe in recipes.items()
        for file in _build(repo / dnn.model / "1", dnn, recipe=recipe, downloads=downloads)
    ]
    for task in tasks.tasks():
        whose = repository.normalizing(repo, task.dnn)
        if len(whose) > 1 and (made := _build_of_pixels(repo, task.dnn)):
            built.append(made)
        for gpu in (None, *on.gpus[:1]):
            built += [_build_dali(repo, task, gpu=gpu, who=who) for who in whose]
    return built


def _build(folder: Path, dnn: Dnn, *, recipe: _Recipe, downloads: Path) -> list[BuiltFile]:
    """Make the DNN's files unless the folder's record says that they are as they would be made."""
    paths, record = [folder / name for name in recipe.files], folder / "built.json"
    there = all(path.exists() for path in [*paths, record])
    reused = there and record.read_bytes() == _record(recipe, paths)
    if not reused:
        folder.mkdir(parents=True, exist_ok=True)
        data = read_members([recipe.source], downloads=downloads)[recipe.source]
        for path, make in zip(paths, recipe.files.values(), strict=True):
            write_atomically(path, make(data, dnn))
        record.write_bytes(_record(recipe, paths))
        (folder / PLAN).unlink(missing_ok=True)  # it was made of what is no longer there
    return [BuiltFile(dnn.model, path, sha256_of(path), reused) for path in paths]


def _build_of_pixels(repo: Path, dnn: Dnn) -> BuiltFile | None:
    """Make the DNN that normalizes unless it was made of the same file, by the same numbers.

    None, and a word of it, where that file is the user's and cannot be read.
    """
    model = dnn.of_pixels().model
    source, folder = repo / dnn.model / "1" / _MODEL, repo / model / "1"
    path, record = folder / _MODEL, folder / "built.json"
    if not source.exists():
        return None
    made_of = {"builder": _OF_PIXELS_VERSION, "of_sha256": sha256_of(source)}
    made_of["input"] = dataclasses.asdict(dnn.input)

    def content() -> bytes:
        return as_json(made_of | {"sha256": {path.name: sha256_of(path)}}) + b"\n"

    there = path.exists() and record.exists()
    reused = there and record.read_bytes() == content()
    if not reused:
        try:
            made = of_pixels.build(source.read_bytes(), dnn)
        except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
            click.echo(f"no {model}: {source} cannot be changed: {error}", err=True)
            return None
        write_atomically(path, made)
        write_atomically(record, content())
    return BuiltFile(model, path, sha256_of(path), reused)


def _build_dali(repo: Path, task: Task, *, gpu: int | None, who: str) -> BuiltFile:
    # Imported here because only these models need DALI. Serializing takes milliseconds and gives
    # the same bytes each time, so it is done anew rather than guessed from versions.
    from pipelines.preprocess import dali_graph

    place = "server" if gpu is None else "server-gpu"
    name = served.preprocessing(task.name, "dali", place=place, normalize=who)
    path = repo / name / "1" / "model.dali"
    before = sha256_of(path) if path.exists() else None
    temporary = path.with_suffix(".part")
    dali_graph.serialize(temporary, task.normalized_by(who).dnn, gpu=gpu)
    temporary.replace(path)
    digest = sha256_of(path)
    return BuiltFile(name, path, digest, reused=digest == before)


def _record(recipe: _Recipe, paths: list[Path]) -> bytes:
    content = {
        "builder": _BUILDER_VERSION,
        "source_sha256": MEMBERS[recipe.source].sha256,
        "sha256": {path.name: sha256_of(path) for path in paths},
    }
    return as_json(content) + b"\n"
