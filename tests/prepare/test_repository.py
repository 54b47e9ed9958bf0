"""The generated folders of the model repository: complete, consistent, and careful with others'."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from need import need_built
from networks import DNNS, ROOT
from processes import run
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from bench.prepare import repository
from pipelines import tasks
from pipelines.preprocess.choose import WAYS
from pipelines.servers.device import parse
from pipelines.tasks import served
from pipelines.tasks.tensors import NORMALIZES

TASKS = [task.name for task in tasks.tasks()]
CHAINS = [chain.name for chain in tasks.chains()]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is generated."""
    repo = tmp_path_factory.mktemp("triton_repo")
    repository.write(repo)
    return repo


def config(repo: Path, name: str) -> Any:
    read = text_format.Parse((repo / name / "config.pbtxt").read_text(), ModelConfig())
    assert read.name == name
    return read


def tensors(values: Any) -> dict[str, tuple[int, list[int]]]:
    return {value.name: (value.data_type, list(value.dims)) for value in values}


def test_every_task_and_chain_is_served_in_every_way(repo: Path) -> None:
    chains = {f"{name}_{way}" for name in CHAINS for way in WAYS}
    kinds = [served.ensemble, served.preprocessing, served.fused]
    parts = itertools.product(kinds, TASKS, WAYS, NORMALIZES)
    made = {of(name, way, normalize=who) for of, name, way, who in parts}
    pixels = {task.dnn.of_pixels().model for task in tasks.tasks()}
    assert {folder.name for folder in repo.iterdir()} == chains | made | pixels | set(DNNS)
    assert all((folder / "1").is_dir() for folder in repo.iterdir())


@pytest.mark.parametrize("normalize", NORMALIZES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS)
def test_an_ensemble_hands_on_what_its_models_take_and_give(
    repo: Path, task: str, way: str, normalize: str
) -> None:
    ensemble = config(repo, served.ensemble(task, way, normalize=normalize))
    assert ensemble.platform == "ensemble"
    known = tensors(ensemble.input)
    for step in ensemble.ensemble_scheduling.step:
        model = config(repo, step.model_name)
        assert model.max_batch_size >= ensemble.max_batch_size > 0
        taken, given = tensors(model.input), tensors(model.output)
        assert {taken_as: known[name] for taken_as, name in step.input_map.items()} == taken
        known |= {name: given[given_as] for given_as, name in step.output_map.items()}
        assert set(step.output_map) == set(given), "an output goes nowhere"
    kind, _ = known["tensor"]
    assert kind == (DataType.TYPE_UINT8 if normalize == "dnn" else DataType.TYPE_FP32)
    del known["jpeg"], known["tensor"]
    assert tensors(ensemble.output) == known


@pytest.mark.parametrize("task", TASKS)
def test_a_fused_model_gives_what_the_ensemble_gives_and_the_answer(repo: Path, task: str) -> None:
    fused, ensemble = (config(repo, of(task, "opencv")) for of in (served.fused, served.ensemble))
    assert tensors(fused.input) == tensors(ensemble.input)
    given = tensors(fused.output)
    assert given.pop("answer") == (DataType.TYPE_UINT8, [-1])
    assert given == tensors(ensemble.output)
    assert fused.parameters["intra_op_thread_count"].string_value == "1"


def test_what_onnxruntime_does_not_run_has_no_models_of_that(tmp_path: Path) -> None:
    folder = tmp_path / "mobilenetv2"
    folder.mkdir()
    (folder / "config.pbtxt").write_text('name: "mobilenetv2" backend: "tensorflow"')
    repository.write(tmp_path)
    assert (tmp_path / "classification_opencv").is_dir()
    assert not (tmp_path / "classification_fused_opencv").exists()
    assert not (tmp_path / "mobilenetv2_uint8").exists()
    assert (tmp_path / "centerface_uint8").exists()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_gives_the_images_size_and_what_it_times(repo: Path, way: str) -> None:
    for task in TASKS:
        model = config(repo, f"preprocess_{task}_{way}")
        timed = {"trail"} if way != "dali" else set()
        assert set(tensors(model.output)) == {"tensor", "size"} | timed
        (jpeg,) = model.input
        assert jpeg.allow_ragged_batch, "images of one batch must be of one length"


def test_models_of_ours_know_what_they_serve(repo: Path) -> None:
    for name, parameter in [*((f"preprocess_{t}", "task") for t in TASKS), ("faces", "chain")]:
        model = config(repo, f"{name}_pillow")
        values = {key: value.string_value for key, value in model.parameters.items()}
        of_tasks = {"normalize": "preprocess"} if parameter == "task" else {}
        name = name.removeprefix("preprocess_")
        assert values == {parameter: name, "way": "pillow", **of_tasks}
        assert "TritonPythonModel" in (repo / model.name / "1" / "model.py").read_text()
    assert config(repo, "faces_dali").max_batch_size == 0


def test_what_is_as_it_should_be_is_left_untouched(repo: Path) -> None:
    files = [path for path in repo.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    repository.write(repo)
    assert {path: path.stat().st_mtime_ns for path in repo.rglob("*") if path.is_file()} == before


def test_a_changed_file_is_written_again(repo: Path) -> None:
    path = repo / "depth_dali" / "config.pbtxt"
    good = path.read_text()
    path.write_text(good.replace("max_batch_size: 8", "max_batch_size: 1"))
    repository.write(repo)
    assert path.read_text() == good


def test_only_our_folders_go_when_their_task_is_gone(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, own = repo / "poses_dali", repo / "poses_mine"
    for folder, mark in ((gone, repository.MARK), (own, "")):
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(f'{mark}name: "{folder.name}"\n')
        (folder / "1" / "model.dali").write_bytes(b"built")
    repository.write(repo)
    try:
        assert not gone.exists()
        assert (own / "1" / "model.dali").exists()
        assert f"removing {gone}" in capsys.readouterr().err
    finally:
        shutil.rmtree(own)


def test_git_ignores_what_is_generated_and_built(repo: Path) -> None:
    generated = [
        f"triton_repo/{path.relative_to(repo)}"
        for path in repo.rglob("*")
        if path.is_file() and path.parts[len(repo.parts)] not in DNNS
    ]
    built = [f"triton_repo/{name}/1/model.onnx" for name in DNNS]
    written = [f"triton_repo/{name}/config.pbtxt" for name in DNNS]
    described = [f"triton_repo/{name}/task.toml" for name in DNNS]
    everything = [*generated, *built, *written]
    assert sorted(ignored(*everything, *described)) == sorted(everything)


def ignored(*names: str) -> list[str]:
    """Which of these Git ignores."""
    git = shutil.which("git")
    need_built(git and (ROOT / ".git").exists(), "this is no git checkout", "git clone")
    done = run(("git", "check-ignore", "--no-index"), *names)
    return done.stdout.splitlines()


@pytest.fixture
def on_gpu(tmp_path: Path) -> Path:
    """What is generated for a GPU."""
    repository.write(tmp_path, device=parse("gpu"))
    return tmp_path


def test_a_gpu_has_folders_of_its_own_beside_the_others(repo: Path, on_gpu: Path) -> None:
    ours = {folder.name for folder in repo.iterdir()}
    kinds = itertools.product((served.ensemble, served.preprocessing), TASKS, NORMALIZES)
    added = {of(task, "dali", place="server-gpu", normalize=who) for of, task, who in kinds}
    assert {folder.name for folder in on_gpu.iterdir()} == ours | added
    for task in TASKS:
        ensemble, on_cpu = (config(on_gpu, f"{task}_dali{where}") for where in ("_gpu", ""))
        first, second = ensemble.ensemble_scheduling.step
        assert first.model_name == f"preprocess_{task}_dali_gpu"
        assert second.model_name == on_cpu.ensemble_scheduling.step[1].model_name
        assert tensors(ensemble.output) == tensors(on_cpu.output)
        preprocesses = config(on_gpu, first.model_name)
        assert preprocesses.backend == "dali"
        assert set(tensors(preprocesses.output)) == {"tensor", "size"}


def test_the_folders_of_a_gpu_stay_when_it_is_not_asked_for(on_gpu: Path) -> None:
    before = set(on_gpu.rglob("*"))
    repository.write(on_gpu)
    assert set(on_gpu.rglob("*")) == before


def test_the_folders_of_a_gpu_go_when_their_task_is_gone(on_gpu: Path) -> None:
    gone = on_gpu / "poses_dali_gpu"
    gone.mkdir()
    (gone / "config.pbtxt").write_text(f'{repository.MARK}name: "poses_dali_gpu"\n')
    repository.write(on_gpu)
    assert not gone.exists()


def test_git_ignores_what_is_generated_for_a_gpu(on_gpu: Path) -> None:
    names = [f"triton_repo/{folder.name}/config.pbtxt" for folder in on_gpu.iterdir()]
    assert ignored(*names) == names
