"""The doctor finds what is missing, names a cure for it, and fails only for what is necessary."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from bench.commands.preparing import doctor
from bench.commands.preparing.doctor import as_text, command
from bench.prepare.doctor import host
from bench.prepare.doctor.host import Check, examine
from pipelines.errors import ServerError
from pipelines.servers.triton import Installation


class Usage(NamedTuple):
    free: int


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
    assert host.check_models(project) == Check("models", "ok", "3 models")
    assert host.check_images(project) == Check("images", "ok", "small")


@pytest.mark.parametrize(
    ("gone", "name"), [("network/1/model.onnx", "network"), ("graph/1/model.dali", "graph")]
)
def test_a_model_without_its_built_file_is_missing(project: Path, gone: str, name: str) -> None:
    (project / "triton_repo" / gone).unlink()
    check = host.check_models(project)
    assert (check.state, check.detail) == ("missing", f"not built: {name}")
    assert check.cure == "run 'bench models'"


def test_an_ensemble_needs_its_version_folder(project: Path) -> None:
    (project / "triton_repo" / "whole" / "1").rmdir()
    assert host.check_models(project).detail == "not built: whole"


def test_outside_the_project_the_cure_is_to_go_there(tmp_path: Path) -> None:
    assert host.check_models(tmp_path).cure == "run it in the folder of the project"
    assert host.check_images(tmp_path).state == "missing"


def test_libpython_is_found_where_setup_unpacks_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soname = f"libpython{sysconfig.get_python_version()}.so.1.0"
    monkeypatch.setattr(host.sysconfig, "get_config_var", lambda _: str(project))
    monkeypatch.setattr(host.ctypes.util, "find_library", lambda _: None)
    missing = host.check_libpython(project)
    assert (missing.state, missing.detail) == ("missing", f"no {soname}")
    assert "apt install libpython" in missing.cure

    unpacked = project / "build" / "libpython" / soname
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert host.check_libpython(project).detail == f"build/libpython/{soname}"

    monkeypatch.setattr(host.ctypes.util, "find_library", lambda _: soname)
    assert host.check_libpython(project).detail == f"{soname} of the system"
    (project / soname).touch()
    assert host.check_libpython(project).detail == f"{soname} of this Python"


def test_the_server_check_tells_what_the_server_itself_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> Installation:
        raise ServerError("the server is not installed", hint="run 'make setup'")

    monkeypatch.setattr(host, "installation", absent)
    expected = Check("triton", "missing", "the server is not installed", "run 'make setup'")
    assert host.check_server() == expected

    parts = Installation(tmp_path / "tritonserver", tmp_path, tmp_path, "")
    monkeypatch.setattr(host, "installation", lambda: parts)
    assert "Linux x86-64" in host.check_server().cure
    parts.binary.touch()
    assert host.check_server().state == "ok"


@pytest.mark.parametrize(
    ("installed", "state", "words"),
    [
        ({}, "missing", "neither"),
        ({"pillow": "13.0.0", "pillow-simd": "12.1.1.post0"}, "missing", "both own PIL/"),
        ({"pillow": "13.0.0"}, "optional", "Pillow 13.0.0, no SIMD, libjpeg"),
        ({"pillow-simd": "12.1.1.post0"}, "ok", "pillow-simd 12.1.1.post0, SIMD, libjpeg"),
    ],
)
def test_pillow_has_one_owner_and_better_the_fast_one(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], state: str, words: str
) -> None:
    pillow = next((f"{doctor_name(name)} {v}" for name, v in installed.items()), "")
    monkeypatch.setattr(host, "version_of", installed.get)
    monkeypatch.setattr(host, "versions", lambda: {"pillow": pillow})
    check = host.check_pillow()
    assert check.state == state
    assert words in check.detail
    assert bool(check.cure) == (state != "ok")


def doctor_name(package: str) -> str:
    return "Pillow" if package == "pillow" else package


def test_an_unsupported_python_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.sys, "version_info", (3, 14, 0, "final", 0))
    assert host.check_python().state == "missing"


def test_an_absent_package_is_cured_by_setup() -> None:
    check = host.check_package("dali", "no-such-package-anywhere")
    assert check == Check(
        "dali", "missing", "no-such-package-anywhere is not installed", "run 'make setup'"
    )


def test_full_disks_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=1 << 20))
    assert host.check_disk(tmp_path).state == "missing"
    assert "--shm-size" in host.check_shm(tmp_path).cure
    assert host.check_shm(tmp_path / "none").state == "missing"


def test_a_small_machine_is_told_but_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"cpu_model": "X", "cores": 1, "cpu_quota_cores": 0.5, "memory_bytes": 1 << 30}
    monkeypatch.setattr(host, "machine", lambda: facts)
    cores = host.check_cores()
    assert (cores.state, cores.detail) == ("optional", "1 of X, control group grants 0.5")
    assert host.check_memory().detail == "1.0 GiB"
    assert host.check_memory().state == "optional"


def test_the_browser_and_a_gpu_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.check_gpu(["NVIDIA H100", "NVIDIA L4"]) == Check(
        "gpu", "ok", "NVIDIA H100, NVIDIA L4"
    )
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert {host.check_gpu([]).state, host.check_browser().state} == {"optional"}


def test_what_only_a_gpu_needs_is_never_missing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.ctypes.util, "find_library", lambda _: None)
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(host, "trtexec", lambda: None)
    checks = on_a_gpu(project)
    assert {check.state for check in checks} == {"optional"}
    assert all(check.cure for check in checks)
    assert max(map(len, as_text(checks).splitlines())) <= 100


def test_a_gpu_that_everything_can_use_is_ok(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = project / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    graph = project / "triton_repo" / "preprocess_depth_dali_gpu" / "1" / "model.dali"
    for file in (provider, graph):
        file.parent.mkdir(parents=True)
        file.touch()
    (project / "onnxruntime" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(host.ctypes.util, "find_library", lambda _: "libcuda.so.1")
    monkeypatch.setattr(host, "trtexec", lambda: "/bin/trtexec")
    assert [(check.state, check.detail) for check in on_a_gpu(project)] == [
        ("ok", "DALI, by libcuda.so.1"),
        ("ok", "onnxruntime with CUDA"),
        ("ok", "/bin/trtexec"),
        ("ok", "1 of DALI"),
    ]


def on_a_gpu(project: Path) -> list[Check]:
    """The checks that are made only where there is one."""
    return [
        host.check_gpu_decode(),
        host.check_gpu_inference(),
        host.check_tensorrt(),
        host.check_gpu_models(project),
    ]


def test_graphs_of_a_gpu_are_not_among_the_necessary_models(project: Path) -> None:
    folder = project / "triton_repo" / "preprocess_depth_dali_gpu"
    folder.mkdir()
    (folder / "config.pbtxt").write_text('name: "preprocess_depth_dali_gpu"\nbackend: "dali"\n')
    assert host.check_models(project).state == "ok"


@pytest.mark.parametrize(("gpus", "count"), [([], 21), (["NVIDIA L4"], 25)])
def test_the_real_machine_gets_every_check_with_a_cure_where_one_is_due(
    project: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str], count: int
) -> None:
    monkeypatch.setattr(host, "present", lambda: gpus)
    checks = examine(project)
    assert len({check.name for check in checks}) == len(checks) == count
    for check in checks:
        assert bool(check.cure) == (check.state != "ok"), check


def test_text_fits_100_columns_and_keeps_cures_below() -> None:
    checks = [
        Check(
            "models", "missing", "not built: " + "preprocess_opencv, " * 20, "run 'bench models'"
        ),
        Check("python", "ok", "3.11.7"),
    ]
    lines = as_text(checks).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.strip() == "cure: run 'bench models'" for line in lines)
    assert lines[-1] == "1 of 2 checks failed"
    assert as_text(checks[1:]).endswith("everything needed is here")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("optional", 0), ("missing", 1)])
def test_only_a_missing_necessity_fails(
    monkeypatch: pytest.MonkeyPatch, state: host.State, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _: [Check("thing", state, "detail", "cure")])
    assert CliRunner().invoke(command, []).exit_code == code
    answer = CliRunner().invoke(command, ["--format", "json"])
    assert answer.exit_code == code
    report = json.loads(answer.output)
    assert list(report) == ["healthy", "machine", "versions", "checks"]
    assert report["healthy"] == (code == 0)
    assert report["checks"][0]["state"] == state
