"""`results/<run>/manifest.json`: how a run was made, and its window of measurement."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.record.files import as_json, read_versioned, write_atomically
from bench.record.generator_check import GeneratorCheck
from bench.record.scenario import Settings
from pipelines.errors import ResultsError, VisiontaxError
from pipelines.servers.sizing import Served
from pipelines.spans import STAGES, Count, Nanoseconds
from pipelines.topologies.setting import seconds

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]

SCHEMA = 2
MANIFEST = "manifest.json"

ATTACHED = "attached"
"""The kind of source that is a server which somebody else runs; the load is ours."""

LEVELS = ("trace", "otlp", "statistics", "client")
"""How far an attached server lets us see: each request by its trace file, or by OpenTelemetry's
spans; the means of each model by its counters; nothing but the client's side.
"""

INSIDE = LEVELS[:2]
"""The levels at which each request's time in the server is known."""


class Source(msgspec.Struct, kw_only=True):
    """Where a run comes from that visiontax did not make: the `kind` of the recording, its `files`,
    and in `notes` what it cannot know, and what was guessed. `level` is one of LEVELS of a server
    that was attached to, else None.
    """

    kind: str
    files: list[str]
    notes: list[str]
    level: str | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What was collected of another host: how many `processes` of the load generator, and how many
    `requests`; `ahead_ns` is what was added to its clock, within `bound_ns`.
    """

    processes: Count
    requests: Count
    ahead_ns: int
    bound_ns: Nanoseconds


class _Anchor(msgspec.Struct):
    unix_ns: Nanoseconds
    monotonic_ns: Nanoseconds


class Manifest(msgspec.Struct, kw_only=True):
    """How a run was made.

    `stages`: the stage of the time that each model computes.
    `sha256`: the checksum of each model file.
    `clock`: CLOCK_MONOTONIC's anchor: {"boot_id", "monotonic_ns", "unix_ns"} taken together.
    `window_start_ns`, `window_end_ns`: requests due from the first to before the second count; the
    second is None while the run goes on, and stays so when it was killed.
    `due`: of an open loop the requests that were due in the window, by its schedule alone; None of
    a closed one, while the run goes on, and where the load was paused in it.
    `duration_s`: how long it was to measure; None where nobody said, and of older runs.
    `source`: None of a run that visiontax made itself, on a server of its own kind.
    `generator`: what the load generator had been found able to do on this machine, None where that
    was not checked.
    `hosts`: the other hosts on which the load generator recorded, by their tags; None of one whose
    records are not collected.
    `served`: how Triton served each model of `stages`, empty in older runs and without a Triton.
    `shape`: the name of Locust's load shape that said how many users there are, None where `users`
    of the settings say so.
    `lost`: how many processes of the load vanished before its end.
    """

    schema: int
    run: str
    settings: Settings
    image_sizes: dict[str, Any]
    stages: dict[str, str]
    machine: dict[str, Any]
    versions: dict[str, str]
    sha256: dict[str, str]
    revision: str | None
    clock: dict[str, Any]
    window_start_ns: Nanoseconds
    window_end_ns: Nanoseconds | None = None
    due: Count | None = None
    duration_s: Seconds | None = None
    source: Source | None = None
    served: dict[str, Served] = {}
    shape: str | None = None
    lost: Count = 0
    generator: GeneratorCheck | None = None
    hosts: dict[str, Placed | None] = {}

    @property
    def traced(self) -> bool:
        """Whether requests should be found in a server's trace."""
        if self.source and self.source.level:
            return self.source.level in INSIDE
        return self.settings.traced

    def measures(self, due_ns: int) -> bool:
        """Whether a request that was due then is of the window of measurement."""
        end = self.window_end_ns
        return self.window_start_ns <= due_ns and (end is None or due_ns < end)

    def unix_from_ns(self) -> int:
        """Return what is to be added to the run's times for the wall clock's, both in ns.

        Raises ResultsError where the run does not know.
        """
        try:
            anchor = msgspec.convert(self.clock, _Anchor)
        except msgspec.ValidationError:
            raise ResultsError(
                f"{self.run} has no wall clock: it was recorded by another one alone",
                hint="export it as csv or parquet, which keep its own times",
            ) from None
        return anchor.unix_ns - anchor.monotonic_ns


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write or replace the manifest."""
    write_atomically(folder / MANIFEST, as_json(manifest) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read a run's manifest. Raises ResultsError when the folder is not a run that we can read."""
    path = folder / MANIFEST
    absent = ResultsError(
        f"{folder} is not a run: it has no {MANIFEST}", hint="runs are the folders in results/"
    )
    named = f"{folder} has results schema"
    manifest = read_versioned(path, Manifest, newest=SCHEMA, named=named, absent=absent)
    if manifest.settings.transport == "fake" and manifest.settings.server:
        manifest.settings = _with_service(manifest.settings)
    unknown = sorted(set(manifest.stages.values()) - set(STAGES))
    if unknown:
        raise ResultsError(f"{path} is damaged: it names unknown stages: {', '.join(unknown)}")
    return manifest


def _with_service(settings: Settings) -> Settings:
    """The settings of the fake engine, whose service time once stood for an address: `5ms`."""
    try:
        took_s = seconds(str(settings.server))
    except VisiontaxError:
        return settings
    return msgspec.structs.replace(settings, server=None, service_s=took_s)
