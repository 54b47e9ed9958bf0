"""Where models run: on the CPU, or on some of this machine's NVIDIA GPUs."""

import re
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import ServerError, VisiontaxError
from pipelines.processes import output_of


@dataclass(frozen=True)
class Device:
    """The CPU, or GPUs by their numbers. `gpus` is empty on the CPU."""

    kind: Literal["cpu", "gpu"]
    gpus: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"gpu:{','.join(map(str, self.gpus))}" if self.gpus else self.kind


CPU = Device("cpu")


def parse(text: str) -> Device:
    """Return the device of `cpu`, `gpu` (the first one), or `gpu:0,1`.

    Raises VisiontaxError when it is none of these.
    """
    if text == "cpu":
        return CPU
    numbers = re.fullmatch(r"gpu(?::(\d+(?:,\d+)*))?", text)
    gpus = [int(number) for number in (numbers[1] or "0").split(",")] if numbers else []
    if not gpus or len(set(gpus)) < len(gpus):
        raise VisiontaxError(
            f"not a device: {text!r}", hint="write cpu, gpu, or gpu:0,1 for the first two GPUs"
        )
    return Device("gpu", tuple(gpus))


def present() -> list[str]:
    """Return the names of this machine's GPUs in their order; none without NVIDIA's driver."""
    said = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return [line.strip() for line in said.splitlines() if line.strip()]


def require(device: Device) -> None:
    """Raise ServerError when a GPU is asked for that this machine does not have."""
    names = present() if device.gpus else []
    absent = [number for number in device.gpus if number >= len(names)]
    if not absent:
        return
    if not names:
        raise ServerError(
            f"there is no GPU on this machine, and {device} is asked for",
            hint="use --device cpu; a GPU needs NVIDIA's driver, and 'bench doctor' must see it",
        )
    has = f"GPUs are 0 to {len(names) - 1}" if len(names) > 1 else "only one is 0"
    raise ServerError(
        f"there is no GPU {absent[0]} on this machine: its {has}", hint="'bench doctor' lists them"
    )
