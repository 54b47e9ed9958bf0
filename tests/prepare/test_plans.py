"""`bench plans`: what it asks of NVIDIA's `trtexec`, here a script that records it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from networks import DNNS, ROOT
from processes import write_program

from bench.commands.preparing.plans import command
from bench.prepare import tensorrt
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers.sizing import PLAN

SAVES = """
for word in "$@"; do
    case $word in --saveEngine=*) echo a plan > "${word#--saveEngine=}" ;; esac
done
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two DNNs, and a model without a network."""
    repo = tmp_path / "triton_repo"
    for name in ("mobilenetv2", "ppocr_rec"):
        (repo / name / "1").mkdir(parents=True)
        (repo / name / "1" / "model.onnx").touch()
        shutil.copy(ROOT / "triton_repo" / name / "config.pbtxt", repo / name)
    (repo / "faces_opencv" / "1").mkdir(parents=True)
    return repo


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the arguments of each call of a `trtexec` that works."""
    return trtexec(tmp_path, monkeypatch, script=SAVES)


def trtexec(folder: Path, monkeypatch: pytest.MonkeyPatch, *, script: str) -> Path:
    calls = folder / "calls"
    program = write_program(folder / "bin" / "trtexec", f'echo "$@" >> {calls}\n{script}')
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return calls


def test_each_dnn_gets_a_plan_for_every_size_of_batch(repo: Path, calls: Path) -> None:
    done = CliRunner().invoke(command, ["--repo", str(repo)], catch_exceptions=False)
    made = [repo / name / "1" / PLAN for name in ("mobilenetv2", "ppocr_rec")]
    assert done.stdout.splitlines() == [f"built {plan}" for plan in made]
    assert all(plan.read_text() == "a plan\n" for plan in made)
    first, second = (line.split() for line in calls.read_text().splitlines())
    assert f"--onnx={repo}/mobilenetv2/1/model.onnx" in first
    assert {
        "--minShapes=input:1x3x224x224",
        "--optShapes=input:8x3x224x224",
        "--maxShapes=input:8x3x224x224",
    } <= set(first)
    assert "--maxShapes=input:16x3x48x320" in second
    assert "--fp16" not in first
    assert "[1/2]" in done.stderr
    assert not list(repo.rglob("*.part"))


def test_half_precision_is_asked_for(repo: Path, calls: Path) -> None:
    assert CliRunner().invoke(command, ["--repo", str(repo), "--fp16"]).exit_code == 0
    assert all("--fp16" in line.split() for line in calls.read_text().splitlines())


def test_a_model_without_batches_has_its_own_shapes(repo: Path, calls: Path) -> None:
    config = repo / "mobilenetv2" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 0"))
    list(tensorrt.build_plans(repo))
    assert "Shapes" not in calls.read_text().splitlines()[0]


def test_an_input_of_any_size_is_refused(repo: Path, calls: Path) -> None:
    config = repo / "mobilenetv2" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: 3\n  dims: 224", "dims: 3\n  dims: -1"))
    with pytest.raises(VisiontaxError, match="mobilenetv2 have no fixed size"):
        list(tensorrt.build_plans(repo))
    assert not calls.exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo [I] fine; echo '[E] Error[4]: no such layer'; echo '&&&& FAILED'; exit 1", "layer"),
        ("echo cannot be; exit 3", "cannot be"),
        ("exit 1", "it said nothing"),
    ],
)
def test_a_failure_is_its_telling_line(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    trtexec(tmp_path, monkeypatch, script=SAVES + script)
    before = repo / "mobilenetv2" / "1" / PLAN
    before.write_text("an older one")
    with pytest.raises(ServerError, match=f"no plan of mobilenetv2: .*{words}") as raised:
        list(tensorrt.build_plans(repo, options=["--fp16"]))
    assert "TensorRT 11" in raised.value.hint
    assert before.read_text() == "an older one"
    assert not list(repo.rglob("*.part"))


def test_without_trtexec_the_container_is_the_cure(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(tensorrt, "_IN_NVIDIAS_IMAGE", tmp_path / "trtexec")
    with pytest.raises(ServerError, match="no trtexec") as raised:
        list(tensorrt.build_plans(repo))
    assert "docker compose run --rm plans" in raised.value.hint
    program = write_program(tmp_path / "trtexec", "")
    assert tensorrt.trtexec() == str(program)


@pytest.mark.usefixtures("calls")
def test_a_repository_without_dnns_is_to_be_built(tmp_path: Path) -> None:
    with pytest.raises(VisiontaxError, match="no DNN") as raised:
        list(tensorrt.build_plans(tmp_path / "empty"))
    assert "bench models" in raised.value.hint


def test_every_dnn_of_ours_has_shapes() -> None:
    for name in DNNS:
        shapes = tensorrt._shapes(tensorrt._config(ROOT / "triton_repo" / name / "config.pbtxt"))
        assert len(shapes) == 3
