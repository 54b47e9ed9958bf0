"""What the load generator was found able to do on a machine: `bench selfcheck generator` keeps it,
and the manifests of that machine's later runs carry it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.record.files import as_json, read_versioned, write_atomically
from pipelines.errors import ResultsError
from pipelines.paths import BUILD

SCHEMA = 1
STORED = BUILD / "generator.json"
NEAR = 0.8
"""From this part of the highest rate on a run is told how near it came."""

_ALIKE = ("cpu_model", "cores", "cpu_quota_cores")
"""What two machines have in common that are taken for the same one."""

PerSecond = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Lateness(msgspec.Struct, frozen=True):
    """How late one process was at a rate: two quantiles of the stage `schedule`, each with its
    interval, None where there were too few requests, and in older files.
    """

    per_s: PerSecond
    p50_ms: Milliseconds
    p99_ms: Milliseconds
    p50_within_ms: tuple[Milliseconds, Milliseconds] | None = None
    p99_within_ms: tuple[Milliseconds, Milliseconds] | None = None


class GeneratorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rates against the fake engine that answers at once, in requests a second: of a
    closed loop, and of an open one in one process and in two together.

    `checked`: the day. `machine`, `versions`: as in a manifest. `cpu_us`: CPU time of a request in
    one process, None where it was not sampled. `lateness` at several rates, the lowest first.
    """

    schema: int = SCHEMA
    checked: str
    machine: dict[str, Any]
    versions: dict[str, str]
    closed_per_s: PerSecond
    one_per_s: PerSecond
    two_per_s: PerSecond
    cpu_us: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None
    lateness: list[Lateness]

    def per_s(self, processes: int) -> float:
        """Return the highest rate of so many processes, those beyond two as good as the second."""
        return self.one_per_s + (processes - 1) * max(0.0, self.two_per_s - self.one_per_s)


def write(check: GeneratorCheck, path: Path = STORED) -> None:
    """Keep the check for later runs. Raises ResultsError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"cannot make {path.parent}: {error.strerror}") from error
    write_atomically(path, as_json(check) + b"\n")


def stored(machine: Mapping[str, Any], path: Path = STORED) -> GeneratorCheck | None:
    """Return what was kept of this machine, None where there is nothing.

    Raises ResultsError when the file is damaged.
    """
    if not path.exists():
        return None
    absent = ResultsError(f"{path} is not there")
    check = read_versioned(
        path, GeneratorCheck, newest=SCHEMA, named=f"{path} has schema", absent=absent
    )
    same = all(check.machine.get(name) == machine.get(name) for name in _ALIKE)
    return check if same else None


def doubt(
    check: GeneratorCheck, *, offered_per_s: float, processes: int
) -> tuple[str, bool] | None:
    """Say how near a load of so many processes came to what these can do, and whether it was above
    that; None where it was not near.
    """
    highest = check.per_s(max(1, processes))
    part = offered_per_s / highest
    if part < NEAR:
        return None
    said = (
        f"{offered_per_s:,.0f} requests/s were offered: {part:.0%} of the {highest:,.0f} that the "
        f"load generator was found able to ask on this machine, with a server that costs nothing"
    )
    return said, part > 1
