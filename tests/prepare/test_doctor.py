"""The doctor finds what is missing, names a cure for it, and fails only for what is necessary."""

import json
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from bench.commands.preparing import doctor
from bench.commands.preparing.doctor import as_text, command
from bench.prepare.doctor.checks import examine
from bench.prepare.doctor.host import Check, Host, State
from pipelines.errors import ServerError
from pipelines.servers.triton import Installation


def always(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


def look(root: Path, **answers: Any) -> dict[str, Check]:
    """What is found of a project on a host with these answers, by the check's name."""
    found = examine(Host(root, **({"gpus": [], "which": always(None)} | answers)))
    return {check.name: check for check in found}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with one built model of each kind and one set of images."""
    for name, setting, built in (
        ("whole", 'platform: "ensemble"', None),
        ("network", 'backend: "onnxruntime"', "model.onnx"),
        ("graph", 'backend: "dali"', "model.dali"),
    ):
        version = tmp_path / "triton_repo" / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(f'name: "{name}"\n{setting}\n')
        if built:
            (version / built).touch()
    images = tmp_path / "build" / "images" / "small"
    images.mkdir(parents=True)
    (images / "index.json").touch()
    return tmp_path


def test_built_models_and_images_are_ok(project: Path) -> None:
    found = look(project)
    assert found["models"] == Check("models", "ok", "3 models")
    assert found["images"] == Check("images", "ok", "small")


@pytest.mark.parametrize(
    ("gone", "name"), [("network/1/model.onnx", "network"), ("graph/1/model.dali", "graph")]
)
def test_a_model_without_its_built_file_is_missing(project: Path, gone: str, name: str) -> None:
    (project / "triton_repo" / gone).unlink()
    expected = Check("models", "missing", f"not built: {name}", "run 'bench models'")
    assert look(project)["models"] == expected


def test_an_ensemble_needs_its_version_folder(project: Path) -> None:
    (project / "triton_repo" / "whole" / "1").rmdir()
    assert look(project)["models"].detail == "not built: whole"


def test_without_the_model_repository_the_cure_is_a_clone(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found["models"].cure == "install it from a clone: pip install -e"
    assert {found["models"].state, found["images"].state} == {"missing"}


def test_libpython_is_found_where_setup_unpacks_it(project: Path) -> None:
    soname = f"libpython{sysconfig.get_python_version()}.so.1.0"

    def found(library: str | None = None) -> Check:
        return look(project, libdir=str(project), library=always(library))["libpython"]

    assert (found().state, found().detail) == ("missing", f"no {soname}")
    assert "apt install libpython" in found().cure
    unpacked = project / "build" / "libpython" / soname
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert found().detail == f"build/libpython/{soname}"
    assert found(soname).detail == f"{soname} of the system"
    (project / soname).touch()
    assert found(soname).detail == f"{soname} of this Python"


def test_the_server_check_tells_what_the_server_itself_would(tmp_path: Path) -> None:
    def absent() -> Installation:
        raise ServerError("the server is not installed", hint="run 'make setup'")

    expected = Check("triton", "missing", "the server is not installed", "run 'make setup'")
    assert look(tmp_path, server=absent)["triton"] == expected
    parts = Installation(tmp_path / "tritonserver", tmp_path, tmp_path, "")
    assert "Linux x86-64" in look(tmp_path, server=always(parts))["triton"].cure
    parts.binary.touch()
    assert look(tmp_path, server=always(parts))["triton"].state == "ok"


@pytest.mark.parametrize(
    ("installed", "state", "words"),
    [
        ({}, "missing", "neither"),
        ({"pillow": "13.0.0", "pillow-simd": "12.1.1.post0"}, "missing", "both own PIL/"),
        ({"pillow": "Pillow 13.0.0"}, "optional", "Pillow 13.0.0, no SIMD, libjpeg"),
        ({"pillow-simd": "pillow-simd 12.1"}, "ok", "pillow-simd 12.1, SIMD, libjpeg"),
    ],
)
def test_pillow_has_one_owner_and_better_the_fast_one(
    tmp_path: Path, installed: dict[str, str], state: str, words: str
) -> None:
    versions = {"pillow": next(iter(installed.values()), "")}
    check = look(tmp_path, version_of=installed.get, versions=versions)["pillow"]
    assert check.state == state
    assert words in check.detail
    assert bool(check.cure) == (state != "ok")


def test_an_absent_package_is_cured_by_setup(tmp_path: Path) -> None:
    check = look(tmp_path, version_of=always(None))["dali"]
    detail = "nvidia-dali-cuda120 is not installed"
    assert check == Check("dali", "missing", detail, "run 'make setup'")


def test_a_machine_that_cannot_do_is_missing_and_a_small_one_is_told(tmp_path: Path) -> None:
    facts = {"cpu_model": "X", "cores": 1, "cpu_quota_cores": 0.5, "memory_bytes": 1 << 30}
    full = always(SimpleNamespace(free=1 << 20))
    found = look(tmp_path, shm=tmp_path, python="3.14.0", facts=facts, disk_usage=full)
    assert found["python"].state == found["disk"].state == "missing"
    assert "--shm-size" in found["shared memory"].cure
    assert look(tmp_path, shm=tmp_path / "none")["shared memory"].state == "missing"
    cores, memory = found["cores"], found["memory"]
    assert (cores.state, cores.detail) == ("optional", "1 of X, control group grants 0.5")
    assert (memory.state, memory.detail) == ("optional", "1.0 GiB")


def test_the_browser_and_a_gpu_are_optional(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert {found["gpu"].state, found["chromium"].state} == {"optional"}
    two = look(tmp_path, gpus=["NVIDIA H100", "NVIDIA L4"])["gpu"]
    assert two == Check("gpu", "ok", "NVIDIA H100, NVIDIA L4")


OF_A_GPU = ("gpu decode", "gpu inference", "tensorrt", "gpu models")


def test_what_only_a_gpu_needs_is_never_missing(project: Path) -> None:
    nothing = always(None)
    found = look(project, gpus=["L4"], library=nothing, module=nothing, trtexec=nothing)
    checks = [found[name] for name in OF_A_GPU]
    assert {check.state for check in checks} == {"optional"}
    assert all(check.cure for check in checks)
    assert max(map(len, as_text(checks).splitlines())) <= 100


def test_a_gpu_that_everything_can_use_is_ok(project: Path) -> None:
    for name in (
        "onnxruntime/capi/libonnxruntime_providers_cuda.so",
        "triton_repo/preprocess_depth_dali_gpu/1/model.dali",
    ):
        (project / name).parent.mkdir(parents=True)
        (project / name).touch()
    package = SimpleNamespace(submodule_search_locations=[project / "onnxruntime"])
    found = look(
        project,
        gpus=["L4"],
        library=always("libcuda.so.1"),
        module=always(package),
        trtexec=always("/bin/trtexec"),
    )
    details = ("DALI, by libcuda.so.1", "onnxruntime with CUDA", "/bin/trtexec", "1 of DALI")
    for name, detail in zip(OF_A_GPU, details, strict=True):
        assert found[name] == Check(name, "ok", detail)


def test_graphs_of_a_gpu_are_not_among_the_necessary_models(project: Path) -> None:
    folder = project / "triton_repo" / "preprocess_depth_dali_gpu"
    folder.mkdir()
    (folder / "config.pbtxt").write_text('name: "preprocess_depth_dali_gpu"\nbackend: "dali"\n')
    assert look(project)["models"].state == "ok"


@pytest.mark.parametrize(("gpus", "count"), [([], 23), (["NVIDIA L4"], 27)])
def test_the_real_machine_gets_every_check_with_a_cure_where_one_is_due(
    project: Path, gpus: list[str], count: int
) -> None:
    found = examine(Host(project, gpus=gpus))
    assert len({check.name for check in found}) == len(found) == count
    for check in found:
        assert bool(check.cure) == (check.state != "ok"), check


def test_text_fits_100_columns_and_keeps_cures_below() -> None:
    found = [
        Check("models", "missing", "not built: " + "opencv, " * 40, "run 'bench models'"),
        Check("python", "ok", "3.11.7"),
    ]
    lines = as_text(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.strip() == "cure: run 'bench models'" for line in lines)
    assert lines[-1] == "1 of 2 checks failed"
    assert as_text(found[1:]).endswith("everything needed is here")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("optional", 0), ("missing", 1)])
def test_only_a_missing_necessity_fails(
    monkeypatch: pytest.MonkeyPatch, state: State, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _: [Check("thing", state, "detail", "cure")])
    assert CliRunner().invoke(command, []).exit_code == code
    answer = CliRunner().invoke(command, ["--format", "json"])
    assert answer.exit_code == code
    report = json.loads(answer.output)
    assert list(report) == ["healthy", "machine", "versions", "checks"]
    assert report["healthy"] == (code == 0)
    assert report["checks"][0]["state"] == state


def test_energy_that_cannot_be_counted_says_why(project: Path, tmp_path: Path) -> None:
    zones = tmp_path / "zones"
    none = look(project, powercap=zones)["energy"]
    assert (none.state, none.detail) == (
        "optional",
        f"no RAPL in {zones}: a virtual machine or a container often shows none",
    )
    (zones / "intel-rapl:0").mkdir(parents=True)
    (zones / "intel-rapl:0" / "name").write_text("package-0\n")
    counter = zones / "intel-rapl:0" / "energy_uj"
    closed = look(project, powercap=zones)["energy"]
    assert closed.state == "optional"
    assert f"sudo chmod a+r {counter}" in closed.cure
    counter.write_text("1\n")
    assert look(project, powercap=zones)["energy"] == Check("energy", "ok", "package-0")
