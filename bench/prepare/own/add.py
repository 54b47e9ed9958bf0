"""Adds a user's model to the repository, described, and takes it out again."""

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from bench.prepare.models import RECIPES, build_models
from bench.prepare.own.guess import Asked, described
from bench.prepare.own.onnx_file import OnnxFile
from bench.prepare.own.stated import Seen
from pipelines import paths, tasks
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import WAYS
from pipelines.tasks import SHIPPED, dnn_of, served, task_of
from pipelines.tasks.description import FILE, Description
from pipelines.tasks.tensors import NORMALIZES, OF_PIXELS, TYPES

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_CONFIG = "config.pbtxt"
_PASSES = 3


def check_name(name: str) -> None:
    """Raise VisiontaxError when a pipeline cannot be called that."""
    if not _NAME.fullmatch(name) or name.startswith("preprocess_"):
        raise VisiontaxError(
            f"a pipeline cannot be called {name!r}",
            hint="use small letters, digits, _ and -, beginning with a letter; not preprocess_...",
        )
    if name in tasks.PIPELINES or any(
        (paths.REPOSITORY / each).exists() for each in _folders(name)
    ):
        raise VisiontaxError(
            f"{name} exists already in {paths.REPOSITORY}",
            hint=f"choose another name, or remove it first: bench remove {name}",
        )


def describe_onnx(
    name: str, path: Path, asked: Asked, *, kind: str | None, batch: int | None
) -> tuple[OnnxFile, Description, list[str]]:
    """Return the model, its description, and what was guessed. Raises VisiontaxError."""
    file = OnnxFile(path)
    inputs, outputs = file.inputs, file.outputs

    def describe(outputs: list[Seen], batch: int | None) -> tuple[Description, list[str]]:
        return described(
            *(inputs, outputs, asked), name=name, kind=kind, batch=batch, hints=file.hints
        )

    about, said = describe(outputs, batch)
    for _ in range(_PASSES):  # the sizes of outputs tell the task, which tells that of an input
        outputs = file.with_sizes(dnn_of(name, about), file.outputs)
        before = about
        about, said = describe(outputs, batch)
        if about == before:
            break
    if about.batch and not file.batches(dnn_of(name, about)):
        if batch:
            raise VisiontaxError("it does not answer two images together", hint="leave --batch out")
        about, said = describe(outputs, 0)
        said.insert(0, "one image at a time: two together are not answered as one by one")
    return file, about, said


def describe_triton(
    name: str, folder: Path, asked: Asked, *, kind: str | None
) -> tuple[Description, list[str]]:
    """Return the description of a Triton model in a folder, and what was guessed.

    Raises VisiontaxError when the folder has none that states its inputs and outputs.
    """
    config = _config_of(folder)
    batch = config.max_batch_size

    def seen(tensors: Any) -> list[Seen]:
        first = (-1,) if batch else ()
        return [Seen(each.name, _type(each.data_type), (*first, *each.dims)) for each in tensors]

    return described(
        *(seen(config.input), seen(config.output), asked), name=name, kind=kind, batch=batch
    )


def _config_of(folder: Path) -> Any:
    try:
        text = (folder / _CONFIG).read_text(encoding="utf-8")
        config = text_format.Parse(text, ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise VisiontaxError(
            f"{folder / _CONFIG} cannot be read: {error}", hint="name the folder of a Triton model"
        ) from error
    if not config.input or not config.output:
        raise VisiontaxError(
            f"{folder / _CONFIG} does not state inputs and outputs",
            hint="write them out: Triton is started with --disable-auto-complete-config",
        )
    return config


def _type(number: int) -> str:
    name = str(DataType.Name(number)).removeprefix("TYPE_").lower()
    return name if name in TYPES else "bytes"


def install_onnx(file: OnnxFile, about: Description, said: list[str]) -> None:
    """Put the model into the repository, with all that is made of its description."""

    def fill(folder: Path) -> None:
        version = folder / "1"
        version.mkdir(parents=True)
        shutil.copyfile(file.path, version / "model.onnx")
        for name in file.files:
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path.parent / name, version / name)

    _install(about, said, fill)


def install_triton(source: Path, about: Description, said: list[str]) -> None:
    """Put a copy of the Triton model into the repository, as `install_onnx` does."""

    def fill(folder: Path) -> None:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("configs"))
        text = (folder / _CONFIG).read_text(encoding="utf-8")
        own = re.sub(r'^\s*name\s*:\s*"[^"]*"\s*,?\s*$', "", text, count=1, flags=re.MULTILINE)
        (folder / _CONFIG).write_text(f'name: "{folder.name}"\n{own}', encoding="utf-8")

    _install(about, said, fill)


def _install(about: Description, said: list[str], fill: Callable[[Path], None]) -> None:
    folder = paths.REPOSITORY / about.pipeline
    task_of(folder.name, about)
    try:
        fill(folder)
        (folder / FILE).write_text(as_toml(about, said), encoding="utf-8")
        tasks.forget()
        build_models(paths.REPOSITORY)
    except BaseException as error:
        with contextlib.suppress(VisiontaxError):
            remove(about.pipeline)
        if isinstance(error, OSError):
            raise VisiontaxError(f"{folder} cannot be written: {error.strerror}") from error
        raise


def remove(name: str) -> list[Path]:
    """Take a user's model and what was made for it out of the repository; return the folders.

    Raises VisiontaxError when there is none of that name, or visiontax brought it along.
    """
    if name in SHIPPED or name in RECIPES:
        raise VisiontaxError(f"{name} is a part of visiontax", hint="'bench models' builds it anew")
    found = [
        paths.REPOSITORY / each for each in _folders(name) if (paths.REPOSITORY / each).is_dir()
    ]
    if not found:
        own = [each for each in tasks.PIPELINES if each not in SHIPPED]
        raise VisiontaxError(
            f"there is no {name} in {paths.REPOSITORY}",
            hint=f"added: {', '.join(own) or 'nothing'}",
        )
    for folder in found:
        shutil.rmtree(folder)
    tasks.forget()
    return found


def _folders(name: str) -> list[Path]:
    """The folders of a task in the repository, its DNN's first."""
    models = [name, f"{name}{OF_PIXELS}"]
    for way, who in itertools.product(WAYS, NORMALIZES):
        models.append(served.fused(name, way, normalize=who))
        for at, of in itertools.product(
            ("server", "server-gpu"), (served.ensemble, served.preprocessing)
        ):
            models.append(of(name, way, place=at, normalize=who))
    return [paths.REPOSITORY / model for model in dict.fromkeys(models)]


def as_toml(about: Description, said: list[str]) -> str:
    """Return the text of the description, with what was guessed above it."""
    lines = [f"# guessed: {each}" for each in said]
    values = msgspec.to_builtins(about)
    tables = {name: values.pop(name) for name in ("input", "answer")}
    lists = {name: values.pop(name, []) for name in ("outputs", "constants")}
    lines += _pairs(values)
    lines += ["", "[input]", *_pairs(tables["input"])]
    for name, items in lists.items():
        for item in items:
            lines += ["", f"[[{name}]]", *_pairs(item)]
    lines += ["", "[answer]", *_pairs(tables["answer"])]
    return "\n".join(lines) + "\n"


def _pairs(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]
