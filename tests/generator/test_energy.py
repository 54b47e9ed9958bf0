"""What a run's machine used, by counters that are made up: read, and made into joules an image."""

import io
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from processes import BENCH, run

from bench.generator.watching.energy import Counters
from bench.generator.watching.samples import Served
from bench.ledger.reading import summary_of
from bench.ledger.sources.energy import Energy, energy, power_w
from bench.record.machine import ZONES, rapl_zones
from bench.record.records import EnergyRead

S = 1_000_000_000
RANGE_UJ = 262_143_328_850


class Powercap:
    """A folder as Linux has it; `counted` are its counters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for zone, name in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "psys"),
            ("intel-rapl:2", "package-1"),
            ("intel-rapl-mmio:0", "package-0"),
        ):
            (folder / zone).mkdir(parents=True)
            (folder / zone / "name").write_text(f"{name}\n")
            (folder / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.count(zone, 1000)

    def count(self, zone: str, energy_uj: int) -> None:
        """Have the counter of the zone say that, as a whole."""
        path = self.folder / zone / "energy_uj"
        path.with_name("new").write_text(f"{energy_uj}\n")
        path.with_name("new").replace(path)


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path / "powercap")


class Nvml:
    """As the module pynvml: `millijoules` of each GPU, None of one that does not count."""

    class NVMLError(Exception):
        """Theirs."""

    def __init__(self, *millijoules: int | None) -> None:
        self.millijoules = millijoules

    def nvmlInit(self) -> None:
        if not self.millijoules:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.millijoules)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if (found := self.millijoules[handle]) is None:
            raise self.NVMLError("Not Supported")
        return found


def written(counters: Counters) -> list[EnergyRead]:
    into = io.BytesIO()
    counters.tell(into)
    counters.sample(into)
    lines = into.getvalue().splitlines()
    return [msgspec.json.decode(line, type=EnergyRead) for line in lines]


# Read


def test_counters_that_have_nothing_in_common_are_read(powercap: Powercap) -> None:
    found = rapl_zones(powercap.folder)
    assert {name: path.name for name, path in found.items()} == {
        "package-0": "intel-rapl:0",
        "package-0/dram": "intel-rapl:0:1",
        "package-1": "intel-rapl:2",
    }
    powercap.count("intel-rapl:2", 7)
    told = written(Counters(powercap.folder, nvml=Nvml(3, None)))
    assert {one.counter: (one.energy_uj, one.range_uj, one.lacking) for one in told} == {
        "gpu-1": (None, None, "Not Supported"),
        "package-0": (1000, RANGE_UJ, ""),
        "package-0/dram": (1000, RANGE_UJ, ""),
        "package-1": (7, RANGE_UJ, ""),
        "gpu-0": (3000, None, ""),
    }


def test_what_only_root_may_read_says_so_with_its_cure(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = powercap.folder / "intel-rapl:0" / "energy_uj"
    read = Path.read_text

    def denied(path: Path, *how: Any, **more: Any) -> str:
        if path == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *how, **more)

    monkeypatch.setattr(Path, "read_text", denied)
    counters = Counters(powercap.folder, nvml=Nvml())
    assert list(counters.lacking) == ["package-0"]
    said = counters.lacking["package-0"]
    assert f"{refused} can be read by root only: run as root, or 'sudo chmod a+r {refused}'" in said
    assert {one.counter for one in written(counters) if one.energy_uj} == {
        *("package-0/dram", "package-1"),
    }


def test_without_a_counter_that_is_said(tmp_path: Path) -> None:
    (told,) = written(Counters(tmp_path, nvml=Nvml()))
    assert told.energy_uj is None
    assert f"no RAPL in {tmp_path}" in told.lacking


def test_a_server_elsewhere_is_not_counted_here(powercap: Powercap) -> None:
    assert Served("127.0.0.1:1").elsewhere == Served(None).elsewhere == ""
    address = Served("192.0.2.1:8000").elsewhere
    (told,) = written(Counters(powercap.folder, nvml=Nvml(3), away=address))
    assert told.lacking == "the server at 192.0.2.1:8000 is on another host"


# Made into joules


def reads(*counted: int, counter: str = "package-0", most: int | None = RANGE_UJ) -> list[Any]:
    """What was counted, one a second."""
    return [EnergyRead(at * S, counter, one, most) for at, one in enumerate(counted)]


def test_power_is_between_the_ends_of_the_window() -> None:
    taken = reads(0, 10_000_000, 30_000_000, 40_000_000)
    assert power_w(taken, window_ns=(1 * S, 3 * S)) == pytest.approx(15)
    assert power_w(taken, window_ns=(S // 2, S)) == pytest.approx(10)
    assert power_w(taken, window_ns=(2 * S, 9 * S)) == pytest.approx(10), "as far as is known"
    assert power_w([*reversed(taken)], window_ns=(1 * S, 3 * S)) == pytest.approx(15)


def test_a_counter_that_began_again_goes_on() -> None:
    taken = reads(RANGE_UJ - 15_000_000, RANGE_UJ - 5_000_000, 5_000_000, 15_000_000)
    assert power_w(taken, window_ns=(0, 3 * S)) == pytest.approx(10)


@pytest.mark.parametrize("taken", [[], reads(7), reads(7, 7, 7), reads(9, 3, most=None)], ids=str)
def test_what_does_not_count_is_not_0(taken: list[Any]) -> None:
    assert power_w(taken, window_ns=(0, 2 * S)) is None


def spent(taken: list[Any], **changes: Any) -> Energy | None:
    how = {"window_ns": (0, 2 * S), "paused": False, "throughput_per_s": 10.0, "on": "cpu"}
    return energy(taken, **how | changes)


def test_joules_an_image_are_of_the_processors_and_the_gpus_in_use() -> None:
    taken = [
        *reads(0, 20_000_000, 40_000_000),
        *reads(0, 5_000_000, 10_000_000, counter="package-0/dram"),
        *reads(0, 100_000_000, 200_000_000, counter="gpu-0", most=None),
        *reads(0, 60_000_000, 120_000_000, counter="gpu-1", most=None),
    ]
    found = spent(taken)
    assert found is not None
    assert found.watts == {"package-0": 20, "package-0/dram": 5}
    assert found.joules_per_image == pytest.approx(2.5)
    on_gpu = spent(taken, on="gpu:1,2")
    assert on_gpu is not None
    assert on_gpu.watts == {"package-0": 20, "package-0/dram": 5, "gpu-1": 60}
    assert on_gpu.lacking == {"gpu-2": "NVML does not know it"}


def test_no_counter_is_never_zero() -> None:
    assert spent([]) is None, "an older run"
    told = spent([EnergyRead(0, "package-", lacking="no RAPL")])
    assert told == Energy(joules_per_image=None, watts={}, lacking={"package-": "no RAPL"})
    for changes in ({"paused": True}, {"throughput_per_s": 0.0}, {"window_ns": (5 * S, 5 * S)}):
        found = spent(reads(0, 1_000_000, 2_000_000), **changes)
        assert found is not None
        assert found.joules_per_image is None
    stands = spent(reads(5, 5, 5))
    assert stands is not None
    assert stands.lacking == {"package-0": "it did not count"}


# For real


def test_a_run_says_what_an_image_took(
    powercap: Powercap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter goes up by 20 J a second, and begins again meanwhile."""
    over, counted = threading.Event(), RANGE_UJ - 30_000_000

    def going_on() -> None:
        now = counted
        while not over.wait(0.05):
            now = (now + 1_000_000) % RANGE_UJ
            powercap.count("intel-rapl:0", now)

    monkeypatch.setitem(os.environ, ZONES, str(powercap.folder))
    counting = threading.Thread(target=going_on)
    counting.start()
    try:
        options = ("--transport", "fake", "--images", "small", "--place", "client")
        options += ("--warmup", "1s", "--duration", "4s", "--results", str(tmp_path / "results"))
        done = run((*BENCH, "run", "classification", *options))
    finally:
        over.set()
        counting.join()
    assert done.returncode in (0, 4), done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    found = summary_of(folder)
    assert found.energy is not None
    assert found.energy.joules_per_image is not None
    assert found.energy.watts["package-0"] == pytest.approx(18, rel=0.3)
    whole = sum(found.energy.watts.values())
    assert found.energy.joules_per_image == pytest.approx(whole / found.throughput_per_s)
    assert "J/image (package-0 " in done.stdout.replace("\n", " ")
    assert found.energy.lacking["package-1"] == "it did not count"
