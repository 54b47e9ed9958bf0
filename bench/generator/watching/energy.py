"""The counters of energy that this machine has, read while a run goes on.

Processors count by RAPL, as Linux shows it (Documentation/power/powercap in its sources): in
microjoules, from 0 again above `max_energy_range_uj`. GPUs are asked by NVML.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.record import machine
from bench.record.records import GPU, PROCESSORS, EnergyRead

Reading = tuple[int, int | None]
"""What was counted in microjoules, and the most that can be; None where that is never reached."""


class Counters:
    """All of them; `lacking` is why one cannot be read, by its name."""

    def __init__(self, zones: Path | None = None, *, nvml: Any = None, away: str = "") -> None:
        """`zones` is Linux's folder of RAPL, and `nvml` the module pynvml, unless told otherwise.

        Where the server is `away`, on another host, there is none of use here.
        """
        self.lacking: dict[str, str] = {}
        self._readable: dict[str, Callable[[], Reading]] = {}
        if away:
            self.lacking[f"{PROCESSORS}*"] = f"the server at {away} is on another host"
            return
        folder = zones or machine.powercap()
        found = machine.rapl_zones(folder)
        if not found:
            self.lacking[f"{PROCESSORS}*"] = machine.NO_RAPL.format(folder)
        for name, path in found.items():
            self._look(name, partial(_rapl, path))
        for name, read in _gpus(nvml):
            self._look(name, read)

    def _look(self, name: str, read: Callable[[], Reading]) -> None:
        try:
            read()
        except PermissionError as error:
            self.lacking[name] = machine.ONLY_ROOT.format(Path(error.filename))
        except Exception as error:  # NVML's classes are made when they are needed
            self.lacking[name] = str(error) or type(error).__name__
        else:
            self._readable[name] = read

    def tell(self, into: BinaryIO) -> None:
        """Append what cannot be read."""
        for name, why in self.lacking.items():
            _write(EnergyRead(time.monotonic_ns(), name, lacking=why), into)

    def sample(self, into: BinaryIO) -> None:
        """Append what each has counted by now."""
        for name, read in self._readable.items():
            with contextlib.suppress(Exception):  # as above; it is read again in a second
                counted, most = read()
                _write(EnergyRead(time.monotonic_ns(), name, counted, most), into)


def _write(taken: EnergyRead, into: BinaryIO) -> None:
    into.write(msgspec.json.encode(taken) + b"\n")
    into.flush()


def _rapl(zone: Path) -> Reading:
    counted = int((zone / "energy_uj").read_text())
    return counted, int((zone / "max_energy_range_uj").read_text())


def _gpus(nvml: Any) -> Iterator[tuple[str, Callable[[], Reading]]]:
    """What each GPU has used since its driver was loaded, which NVML gives in millijoules."""
    nvml = nvml or importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:  # there is none
        return
    for number, handle in enumerate(handles):
        yield f"{GPU}{number}", partial(_nvml, nvml, handle)


def _nvml(nvml: Any, handle: Any) -> Reading:
    return 1000 * int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)), None
