"""Devices as users write them, and GPUs that are asked for but not there."""

from pathlib import Path

import pytest
from processes import write_program

from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import device
from pipelines.servers.device import CPU, Device, parse, present, require


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `nvidia-smi` that says what a test writes into it."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "nvidia-smi"


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("cpu", CPU, "cpu"),
        ("gpu", Device("gpu", (0,)), "gpu:0"),
        ("gpu:1", Device("gpu", (1,)), "gpu:1"),
        ("gpu:0,2", Device("gpu", (0, 2)), "gpu:0,2"),
    ],
)
def test_a_device_is_read_and_written_alike(text: str, expected: Device, shown: str) -> None:
    assert parse(text) == expected
    assert str(expected) == shown
    assert parse(shown) == expected


@pytest.mark.parametrize("text", ["", "tpu", "gpu:", "gpu:a", "gpu:0,", "gpu:-1", "gpu:0,0", "CPU"])
def test_what_is_no_device_is_told_with_what_is(text: str) -> None:
    with pytest.raises(VisiontaxError, match="not a device") as raised:
        parse(text)
    assert "gpu:0,1" in raised.value.hint


def test_the_gpus_are_those_of_the_driver(smi: Path) -> None:
    write_program(smi, "echo NVIDIA H100; echo NVIDIA L4; echo")
    assert present() == ["NVIDIA H100", "NVIDIA L4"]
    require(parse("gpu:1,0"))
    with pytest.raises(ServerError, match="no GPU 2 on this machine: its GPUs are 0 to 1"):
        require(parse("gpu:0,2"))


@pytest.mark.parametrize("script", ["exit 9", "echo; exit 0"])
def test_without_a_gpu_the_cpu_is_the_cure(smi: Path, script: str) -> None:
    write_program(smi, script)
    assert present() == []
    require(CPU)
    with pytest.raises(ServerError, match="no GPU on this machine") as raised:
        require(parse("gpu"))
    for cure in ("--device cpu", "bench doctor", "driver"):
        assert cure in raised.value.hint


def test_a_machine_without_the_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert present() == []


def test_one_gpu_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "present", lambda: ["NVIDIA L4"])
    with pytest.raises(ServerError, match="no GPU 1 on this machine: its only one is 0"):
        require(parse("gpu:1"))
