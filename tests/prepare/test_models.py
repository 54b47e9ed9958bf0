"""The built model repository: what is in it, that it fits the tasks, and building it again."""

import os
import pickle
import shutil
from pathlib import Path

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from networks import DNNS, DOWNLOADS, ROOT, photograph, tensor_of
from onnx import helper
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from bench.commands.preparing.models import command
from bench.prepare import models
from bench.prepare.dnns.mobilenetv2 import fold_batch_norm
from bench.prepare.dnns.torch_weights import read_state_dict
from bench.prepare.models import build_models
from bench.prepare.pins import read_members
from pipelines import tasks
from pipelines.errors import ServerError, SourceError
from pipelines.preprocess import dali_graph
from pipelines.servers import device
from pipelines.servers.sizing import default_sizes

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = {967}
MOTOR_BIKES = {665, 670}  # moped, motor scooter
PALACE = {698}

each_dnn = pytest.mark.parametrize("name", sorted(DNNS))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("triton_repo")
    build_models(repo, downloads=DOWNLOADS)
    return repo


def onnx_of(repo: Path, name: str) -> Path:
    return repo / name / "1" / "model.onnx"


@pytest.mark.parametrize(
    ("name", "labels", "share"),
    [
        ("chelsea", CATS, 0.9),
        ("coffee", ESPRESSO, 0.9),
        ("motorcycle_left", MOTOR_BIKES, 0.8),
        ("china", PALACE, 0.5),
    ],
)
def test_photographs_get_their_labels(
    repo: Path, name: str, labels: set[int], share: float
) -> None:
    dnn = DNNS["mobilenetv2"]
    logits = networks.run_one(onnx_of(repo, dnn.model), dnn, photograph(name))["logits"]
    assert np.isfinite(logits).all()
    assert np.abs(logits).mean() > 0.5, "tiny outputs: the weights did not survive"
    odds = np.exp(logits - logits.max())
    assert int(logits.argmax()) in labels
    assert sum(odds[label] for label in labels) / odds.sum() > share


@each_dnn
def test_a_dnn_takes_and_gives_what_its_task_says(repo: Path, name: str) -> None:
    model, dnn = onnx.load(onnx_of(repo, name)), DNNS[name]
    size = (3, dnn.input.height, dnn.input.width)
    assert interface(model.graph.input) == [("input", np.float32, size)]
    expected = [(output.name, output.dtype, output.shape) for output in dnn.outputs]
    assert interface(model.graph.output) == expected


def interface(values: object) -> list[tuple[str, type, tuple[int, ...]]]:
    found = []
    for value in values:
        kind = value.type.tensor_type
        batch, *rest = kind.shape.dim
        assert batch.dim_param, "the batch size is fixed"
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).type
        found.append((value.name, dtype, tuple(each.dim_value for each in rest)))
    return found


@each_dnn
def test_a_batch_gives_what_its_images_give_alone(repo: Path, name: str) -> None:
    dnn, path = DNNS[name], onnx_of(repo, name)
    tensors = [tensor_of(photograph(each), dnn.input) for each in ("chelsea", "astronaut")]
    together = networks.run(path, dnn, np.concatenate(tensors))
    alone = [networks.run(path, dnn, tensor) for tensor in tensors]
    for output in dnn.outputs:
        expected = np.concatenate([one[output.name] for one in alone])
        assert together[output.name].shape == (2, *output.shape)
        np.testing.assert_allclose(together[output.name], expected, rtol=1e-3, atol=1e-3)


@each_dnn
def test_servers_load_a_dnn_without_complaint(
    repo: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert onnx.load(onnx_of(repo, name)).ir_version == 8, "older servers refuse a newer one"
    onnxruntime.InferenceSession(onnx_of(repo, name), providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""


@each_dnn
def test_its_configuration_is_that_of_its_task(name: str) -> None:
    dnn = DNNS[name]
    text = (ROOT / "triton_repo" / name / "config.pbtxt").read_text()
    config = text_format.Parse(text, ModelConfig())
    assert (config.name, config.backend) == (name, "onnxruntime")
    assert config.max_batch_size >= 8
    size = [3, dnn.input.height, dnn.input.width]
    assert [(each.name, list(each.dims)) for each in config.input] == [("input", size)]
    kinds = {np.float32: "TYPE_FP32", np.int64: "TYPE_INT64"}
    outputs = [
        (each.name, DataType.Name(each.data_type), tuple(each.dims)) for each in config.output
    ]
    assert outputs == [(output.name, kinds[output.dtype], output.shape) for output in dnn.outputs]
    for threads in ("intra_op_thread_count", "inter_op_thread_count"):
        assert config.parameters[threads].string_value == "1"
    assert not config.instance_group, "the server sizes its instances when it starts"


def test_batch_normalisation_is_folded(repo: Path) -> None:
    kinds = [node.op_type for node in onnx.load(onnx_of(repo, "mobilenetv2")).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 52


def test_folding_keeps_the_function() -> None:
    random = np.random.default_rng(1)
    kernel = random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    x = random.normal(size=3).astype(np.float32)
    norm = {
        part: random.uniform(0.5, 2, size=4).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    y = kernel[:, :, 0, 0] @ x
    expected = (y - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
    expected = expected * norm["weight"] + norm["bias"]
    folded, bias = fold_batch_norm(kernel, norm)
    np.testing.assert_allclose(folded[:, :, 0, 0] @ x + bias, expected, rtol=1e-5, atol=1e-5)


def test_what_is_built_and_correct_is_kept(repo: Path) -> None:
    before = times(repo)
    again = build_models(repo, downloads=repo / "nothing is fetched")
    assert all(file.reused for file in again)
    assert times(repo) == before
    assert {file.path for file in again if file.path.suffix == ".onnx"} == set(before)
    assert not list(repo.glob("*/1/*.part*"))


def times(repo: Path) -> dict[Path, int]:
    """When each DNN was written."""
    return {path: path.stat().st_mtime_ns for path in repo.glob("*/1/model.onnx")}


@pytest.mark.parametrize("damaged", ["model.onnx", "charset.txt"])
def test_a_damaged_file_is_built_again(repo: Path, damaged: str) -> None:
    path = repo / "ppocr_rec" / "1" / damaged
    before = path.read_bytes()
    path.write_bytes(b"damaged")
    built = {file.path: file for file in build_models(repo, downloads=DOWNLOADS)}
    assert not built[path].reused
    assert path.read_bytes() == before
    assert built[onnx_of(repo, "centerface")].reused


def test_a_model_of_the_user_is_left_alone(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(models.RECIPES, "depth_untrained")
    path = onnx_of(repo, "depth_untrained")
    ours = path.read_bytes()
    path.write_bytes(b"the user's own")
    try:
        built = build_models(repo, downloads=DOWNLOADS)
        assert path.read_bytes() == b"the user's own"
        assert path not in {file.path for file in built}
    finally:
        path.write_bytes(ours)


def test_the_command_prints_one_line_per_file(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(command, ["--repo", str(repo)])
    assert result.exit_code == 0
    lines = [f"kept  {file.path} sha256 {file.sha256}" for file in build_models(repo)]
    assert result.stdout.splitlines() == lines


@pytest.mark.parametrize("given", [False, True])
def test_the_command_says_how_many_instances_are_served(
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: bool,  # noqa: FBT001
) -> None:
    monkeypatch.chdir(ROOT)
    default = default_sizes()
    counts = (3, 5) if given else (default.preprocess, default.inference)
    options = ("--preprocess-instances", "3", "--inference-instances", "5") if given else ()
    result = CliRunner().invoke(command, ["--repo", str(repo), "--device", "cpu", *options])
    assert result.exit_code == 0
    for name, count in zip(("preprocess_depth_dali", "faces_opencv"), counts, strict=True):
        text = (repo / name / "configs" / "sized.pbtxt").read_text()
        assert f"count: {count} kind: KIND_CPU" in text


def test_without_a_gpu_nothing_is_built_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "present", list)
    with pytest.raises(ServerError, match="no GPU on this machine"):
        build_models(tmp_path, on=device.parse("gpu"))
    assert not list(tmp_path.iterdir())


def test_on_a_gpu_its_graphs_are_made_on_it(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = shutil.copytree(repo, tmp_path / "repo")  # the graphs made here are empty
    made: list[tuple[str, int | None]] = []

    def serialize(path: Path, model_input: object, *, gpu: int | None) -> None:
        del model_input
        made.append((path.parent.parent.name, gpu))
        path.touch()

    monkeypatch.setattr(device, "present", lambda: ["NVIDIA L4"] * 3)
    monkeypatch.setattr(dali_graph, "serialize", serialize)
    built = build_models(repo, downloads=repo / "nothing is fetched", on=device.parse("gpu:2,1"))
    graphs = [task.name for task in tasks.tasks()]
    places: tuple[tuple[str, int | None], ...] = (("dali", None), ("dali_gpu", 2))
    expected = [
        (f"preprocess_{name}_{way}{pixels}", gpu)
        for way, gpu in places
        for name in graphs
        for pixels in ("", "_uint8")
    ]
    assert sorted(made) == sorted(expected)
    assert {name for name, _ in expected} <= {file.model for file in built}


def test_a_plan_goes_with_the_dnn_that_it_was_made_of(repo: Path) -> None:
    old, kept = (
        onnx_of(repo, name).with_name("model.plan") for name in ("mobilenetv2", "ppocr_rec")
    )
    for plan in (old, kept):
        plan.touch()
    onnx_of(repo, "mobilenetv2").write_bytes(b"damaged")
    build_models(repo, downloads=DOWNLOADS)
    assert (old.exists(), kept.exists()) == (False, True)
    kept.unlink()


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (pickle.dumps(_Payload()), "asks for .*system"),
        (pickle.dumps(7), "does not begin as"),
        (b"PK\x03\x04", "cannot read the weights"),
        (b"", "cannot read the weights"),
    ],
)
def test_only_tensors_are_read_from_weights(data: bytes, cause: str) -> None:
    with pytest.raises(SourceError, match=cause) as raised:
        read_state_dict(data)
    assert raised.value.hint


def test_weights_cut_short_are_refused() -> None:
    data = read_members(["mobilenet_v2"], downloads=DOWNLOADS)["mobilenet_v2"]
    with pytest.raises(SourceError, match="cannot read the weights"):
        read_state_dict(data[: len(data) // 2])
