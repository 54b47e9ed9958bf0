"""The machine's description: quotas and limits are seen, and nothing private is."""

import json
import os
import platform
import sys
from pathlib import Path

import psutil
import pytest

from bench.record import machine as machine_module
from bench.record.machine import cpu_quota_cores, machine, memory_limit_bytes, version_of, versions


def fake_groups(tmp_path: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Return a /proc and a /sys/fs/cgroup in which `files` (path → content) are set."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(membership)
    cgroups.mkdir()
    for name, content in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(content + "\n")
    return proc, cgroups


NONE = 9223372036854771712
"""What version 1 says of memory without a limit."""


@pytest.mark.parametrize(
    ("membership", "files", "cores", "memory_bytes"),
    [
        (
            "0::/a/b\n",  # the lowest on the way up
            {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "800000 100000"}
            | {"a/memory.max": "1073741824", "a/b/memory.max": "max"},
            *(1.5, 1 << 30),
        ),
        ("0::/docker/0123\n", {"cpu.max": "200000 100000", "memory.max": "4096"}, 2.0, 4096),
        (
            "4:memory:/y\n1:cpu,cpuacct:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}
            | {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
            | {"memory/y/memory.limit_in_bytes": f"{NONE}"},
            *(0.5, NONE),
        ),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
    ],
    ids=["version 2", "a container not below its mount", "version 1", "no quota"],
)
def test_quotas_of_groups(
    tmp_path: Path, membership: str, files: dict[str, str], cores: float, memory_bytes: int
) -> None:
    groups = fake_groups(tmp_path, membership, files)
    assert cpu_quota_cores(*groups) == cores
    assert memory_limit_bytes(*groups) == memory_bytes
    assert cpu_quota_cores(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.5, 1), (2.9, 2), (64.0, 4)])
def test_cores_are_the_affinity_cut_to_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(machine_module, "cpu_quota_cores", lambda: quota)
    facts = machine()
    assert (facts["cores"], facts["cpu_quota_cores"]) == (cores, quota)


def test_memory_is_never_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    for limit, expected in ((None, total), (1 << 62, total), (4096, 4096)):
        monkeypatch.setattr(machine_module, "memory_limit_bytes", lambda limit=limit: limit)
        assert machine()["memory_bytes"] == expected


def test_machine_names_neither_host_nor_user() -> None:
    facts = machine()
    assert list(facts) == ["cpu_model", "cores", "cpu_quota_cores", "memory_bytes", "kernel"]
    assert facts["cpu_model"]
    assert platform.node() not in json.dumps(facts)


def test_versions_say_which_pillow_it_is() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == version_of("numpy")
    owner = "pillow-simd" if version_of("pillow-simd") else "Pillow"
    assert found["pillow"].startswith(f"{owner} {version_of(owner)}")


def test_versions_tell_what_pillow_simd_was_built_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = {"pillow-simd": "12.1.1.post0"}
    monkeypatch.setattr(machine_module, "version_of", installed.get)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert versions()["pillow"] == "pillow-simd 12.1.1.post0"
    (tmp_path / ".pillow-simd").write_text("AVX2\n")
    assert versions() == {
        "python": platform.python_version(),
        "pillow": "pillow-simd 12.1.1.post0 (AVX2)",
    }


def test_an_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of("no-such-package-anywhere") is None
    monkeypatch.setattr(machine_module, "version_of", {"pillow": "13.0.0"}.get)
    assert versions() == {"python": platform.python_version(), "pillow": "Pillow 13.0.0"}
