"""The built model repository: the real network, labels of real photographs, and rebuilding."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

from bench import sources
from bench.mobilenetv2 import fold_batch_norm
from bench.models import build_models, command
from bench.pth import read_state_dict
from bench.sources import read_members
from pipelines.errors import SourceError

ROOT = Path(__file__).parent.parent
DOWNLOADS = ROOT / sources.DOWNLOADS

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = {967}
MOTOR_BIKES = {665, 670}  # moped, motor scooter
PALACE = {698}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("triton_repo")
    build_models(repo, downloads=DOWNLOADS)
    return repo


@pytest.fixture(scope="module")
def session(repo: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(repo / "mobilenetv2" / "1" / "model.onnx")


def tensor_of(photograph: str) -> npt.NDArray[np.float32]:
    """The photograph as the network was trained to see it: [3,224,224], resized and centred."""
    data = read_members([photograph], downloads=DOWNLOADS)[photograph]
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(image.size) * 224 / 256
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=box), np.float32)
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(((pixels / 255 - mean) / deviation).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("photograph", "labels", "share"),
    [
        ("chelsea", CATS, 0.9),
        ("coffee", ESPRESSO, 0.9),
        ("motorcycle_left", MOTOR_BIKES, 0.8),
        ("china", PALACE, 0.5),
    ],
)
def test_photographs_get_their_labels(
    session: onnxruntime.InferenceSession, photograph: str, labels: set[int], share: float
) -> None:
    (logits,) = session.run(["logits"], {"input": tensor_of(photograph)[None]})
    assert logits.shape == (1, 1000)
    assert np.isfinite(logits).all()
    assert np.abs(logits).mean() > 0.5, "tiny outputs: the weights did not survive"
    odds = np.exp(logits[0] - logits.max())
    assert int(logits.argmax()) in labels
    assert sum(odds[label] for label in labels) / odds.sum() > share


def test_a_batch_gives_what_its_images_give_alone(session: onnxruntime.InferenceSession) -> None:
    batch = np.stack([tensor_of("chelsea"), tensor_of("coffee"), tensor_of("china")])
    (together,) = session.run(["logits"], {"input": batch})
    alone = [session.run(["logits"], {"input": image[None]})[0][0] for image in batch]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_batch_normalisation_is_folded_and_old_servers_can_load_it(repo: Path) -> None:
    model = onnx.load(repo / "mobilenetv2" / "1" / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 52
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert [each.name for each in model.graph.input] == ["input"]
    assert [each.name for each in model.graph.output] == ["logits"]


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
    path = repo / "mobilenetv2" / "1" / "model.onnx"
    before = path.stat().st_mtime_ns
    (again,) = build_models(repo, downloads=repo / "nothing is fetched")
    assert again.reused
    assert path.stat().st_mtime_ns == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["built.json", "model.onnx"]


def test_a_damaged_model_is_built_again(tmp_path: Path) -> None:
    (first,) = build_models(tmp_path, downloads=DOWNLOADS)
    first.path.write_bytes(b"damaged")
    (second,) = build_models(tmp_path, downloads=DOWNLOADS)
    assert not second.reused
    assert second.sha256 == first.sha256


def test_every_model_of_the_real_repository_gets_what_triton_needs(tmp_path: Path) -> None:
    for config in (ROOT / "triton_repo").glob("*/config.pbtxt"):
        copy = tmp_path / config.parent.name / config.name
        copy.parent.mkdir()
        copy.write_bytes(config.read_bytes())
    built = build_models(tmp_path, downloads=DOWNLOADS)
    assert [model.name for model in built] == ["mobilenetv2", "preprocess_dali"]
    for config in tmp_path.glob("*/config.pbtxt"):
        if 'backend: "python"' not in config.read_text():
            assert (config.parent / "1").is_dir()
    assert all(model.reused for model in build_models(tmp_path, downloads=DOWNLOADS))


def test_the_command_prints_one_line_per_model(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(command, ["--repo", str(repo)])
    assert result.exit_code == 0
    (model,) = build_models(repo)
    assert result.output == f"kept  {model.path} sha256 {model.sha256}\n"


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
