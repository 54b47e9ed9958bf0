"""The configurations that are served: how many instances each model has, and on what."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from networks import DNNS, ROOT
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from bench.prepare import repository
from pipelines.servers.device import parse
from pipelines.servers.sizing import PLAN, Served, Sizes, default_sizes, served, size

GPUS = parse("gpu:0,1")
ON_CPU = Sizes(preprocess=3, inference=5)
ON_GPUS = Sizes(preprocess=3, inference=5, device=GPUS)


def told(name: str, value: str) -> dict[str, Any]:
    """A parameter, as Triton's configuration has it."""
    return {"parameters": {name: {"string_value": value}}}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The repository with what preprocesses on a GPU, and a model that states its instances."""
    for name in DNNS:
        (tmp_path / name / "1").mkdir(parents=True)
        shutil.copy(ROOT / "triton_repo" / name / "config.pbtxt", tmp_path / name)
    repository.write(tmp_path, device=GPUS)
    own = tmp_path / "own" / "config.pbtxt"
    own.parent.mkdir()
    own.write_text('name: "own"\nbackend: "python"\ninstance_group [ { count: 1 } ]\n')
    return tmp_path


def sized(repo: Path, name: str) -> Any:
    text = (repo / name / "configs" / "sized.pbtxt").read_text()
    return text_format.Parse(text, ModelConfig())


def instances(repo: Path, name: str) -> tuple[int, str, list[int]]:
    (group,) = sized(repo, name).instance_group
    return group.count, ModelInstanceGroup.Kind.Name(group.kind), list(group.gpus)


def test_on_the_cpu_every_model_has_its_instances_there(repo: Path) -> None:
    size(repo, ON_CPU, plans=True)
    for name in ("mobilenetv2", "ppocr_rec", "faces_opencv"):
        assert instances(repo, name) == (5, "KIND_CPU", [])
    for name in ("preprocess_depth_dali", "preprocess_lines_pillow"):
        assert instances(repo, name) == (3, "KIND_CPU", [])


def test_on_gpus_dnns_go_there_and_python_stays(repo: Path) -> None:
    size(repo, ON_GPUS, plans=True)
    for name in ("mobilenetv2", "ppocr_rec", "preprocess_depth_dali_gpu"):
        assert instances(repo, name) == (5, "KIND_GPU", [0, 1])
    for name in ("faces_opencv", "preprocess_depth_dali", "preprocess_lines_pillow"):
        assert instances(repo, name) == (3, "KIND_CPU", [])


def test_nothing_but_the_instances_changes(repo: Path) -> None:
    for sizes in (ON_CPU, ON_GPUS):
        size(repo, sizes, plans=True)
        for config in repo.glob("*/configs/sized.pbtxt"):
            plain = (config.parent.parent / "config.pbtxt").read_text()
            assert config.read_text().startswith(plain)


def test_a_dnn_has_batches_of_so_many_requests(repo: Path) -> None:
    size(repo, Sizes(preprocess=3, inference=5, batch=4), plans=False)
    assert list(sized(repo, "mobilenetv2").dynamic_batching.preferred_batch_size) == [4]
    assert not sized(repo, "preprocess_depth_opencv").HasField("dynamic_batching")
    size(repo, Sizes(preprocess=3, inference=5, batch=1), plans=False)
    assert not sized(repo, "mobilenetv2").HasField("dynamic_batching")
    size(repo, Sizes(preprocess=3, inference=5, batch=9), plans=False)
    assert list(sized(repo, "mobilenetv2").dynamic_batching.preferred_batch_size) == [8]


def test_a_dnn_has_the_threads_that_are_asked_for(repo: Path) -> None:
    size(repo, Sizes(preprocess=3, inference=5, threads=4), plans=False)
    dnn, python, dali = (
        sized(repo, name)
        for name in ("mobilenetv2", "preprocess_depth_opencv", "preprocess_depth_dali")
    )
    assert dnn.parameters["intra_op_thread_count"].string_value == "4"
    assert dnn.parameters["inter_op_thread_count"].string_value == "1"
    assert "intra_op_thread_count" not in python.parameters
    assert dali.parameters["num_threads"].string_value == "1"
    assert instances(repo, "mobilenetv2") == (5, "KIND_CPU", [])
    size(repo, ON_CPU, plans=False)
    assert sized(repo, "mobilenetv2").parameters["intra_op_thread_count"].string_value == "1"


def test_ensembles_and_stated_instances_are_left_alone(repo: Path) -> None:
    size(repo, ON_GPUS, plans=True)
    for name in ("own", "depth_dali", "depth_dali_gpu"):
        assert not (repo / name / "configs").exists()


def test_a_plan_is_served_by_tensorrt_on_gpus(repo: Path) -> None:
    (repo / "mobilenetv2" / "1" / PLAN).touch()
    plain = text_format.Parse((repo / "mobilenetv2" / "config.pbtxt").read_text(), ModelConfig())
    size(repo, ON_GPUS, plans=True)
    made = sized(repo, "mobilenetv2")
    assert (made.backend, made.default_model_filename) == ("tensorrt", "model.plan")
    assert not made.parameters
    assert (made.name, made.max_batch_size) == (plain.name, plain.max_batch_size)
    assert (made.input, made.output) == (plain.input, plain.output)
    assert instances(repo, "mobilenetv2") == (5, "KIND_GPU", [0, 1])
    assert sized(repo, "ppocr_det").backend == "onnxruntime", "it has no plan"


@pytest.mark.parametrize(("sizes", "plans"), [(ON_CPU, True), (ON_GPUS, False)])
def test_elsewhere_a_plan_is_not_served(repo: Path, sizes: Sizes, plans: bool) -> None:  # noqa: FBT001
    (repo / "mobilenetv2" / "1" / PLAN).touch()
    size(repo, sizes, plans=plans)
    assert sized(repo, "mobilenetv2").backend == "onnxruntime"


def test_by_default_cores_and_gpus_are_filled() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_sizes() == Sizes(preprocess=cores, inference=cores)
    assert default_sizes(GPUS) == Sizes(preprocess=cores, inference=2, device=GPUS)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"backend": "python"}, Served(2)),
        ({"backend": "onnxruntime"}, Served(2, threads=0)),
        ({"backend": "onnxruntime", **told("intra_op_thread_count", "3")}, Served(2, threads=3)),
        ({"backend": "dali"}, Served(2)),
        ({"backend": "dali", **told("num_threads", "4")}, Served(2, threads=4)),
        ({"backend": "python", **told("num_threads", "4")}, Served(2)),
    ],
)
def test_what_is_served_is_read_from_the_configuration(
    config: dict[str, Any], expected: Served
) -> None:
    assert served(config | {"instance_group": [{"count": 2}]}) == expected


def test_instances_on_gpus_are_those_of_each() -> None:
    groups = [{"count": 2, "gpus": [0, 1]}, {"count": 1, "gpus": [1]}]
    assert served({"backend": "python", "instance_group": groups}) == Served(5, gpu=True)
