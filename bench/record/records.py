"""`results/<run>/`: the files in which the load half and the analysis half of `bench` meet.

    manifest.json          how the run was made, and its window of measurement
    requests-<pid>.jsonl   one Request a line, by each load generator process
    trace.csv              Triton's trace, one row per model execution (trace.json.* until the end)
    samples.jsonl          CPU time of generator and server, once a second
    images.jsonl           the images that were asked with, in the order of their numbers
    turns.jsonl            of a load that took turns with another: since when it ran or paused
    apportion.json         for DALI: the shares of decode, resize and normalize in its one box

Everything but the manifest is append-only while the run goes on.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from bench.record.files import (
    as_json,
    decoded,
    lines_of,
    read_versioned,
    read_whole,
    write_atomically,
)
from bench.record.scenario import Settings
from pipelines.errors import ResultsError, VisiontaxError
from pipelines.spans import STAGES, Call, Count, Nanoseconds, Request
from pipelines.topologies.scenario import seconds

T = TypeVar("T")

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

SCHEMA = 2
MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
TRACE = "trace.csv"
TURNS = "turns.jsonl"
IMAGES = "images.jsonl"
APPORTION = "apportion.json"


class Manifest(msgspec.Struct, kw_only=True):
    """How a run was made.

    `stages`: the stage of the time that each model computes.
    `sha256`: the checksum of each model file.
    `clock`: CLOCK_MONOTONIC's anchor: {"boot_id", "monotonic_ns", "unix_ns"} taken together.
    `window_start_ns`, `window_end_ns`: requests due from the first to before the second count; the
    second is None while the run goes on, and stays so when it was killed.
    `completed`: successful requests that ended in the window; None where several processes made
    them.
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
    recorded: bool = True
    completed: Count | None = None


class Sample(msgspec.Struct, frozen=True):
    """One process at one moment: `cpu_s` is its CPU time so far.

    Its `role` is generator, server, worker or broker.
    """

    time_ns: Nanoseconds
    role: str
    pid: int
    cpu_s: Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Image(msgspec.Struct, frozen=True):
    """One of the images that were asked with, of `width` x `height` pixels; `bytes` as stored."""

    name: str
    format: str
    width: Count
    height: Count
    bytes: Count


class _Shares(msgspec.Struct):
    decode: Share
    resize: Share
    normalize: Share


class Turn(msgspec.Struct, frozen=True):
    """From `time_ns` on the load was running, or paused."""

    time_ns: Nanoseconds
    running: bool


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


class RequestV1(Request, kw_only=True, gc=False):
    """A request as schema 1 had it: with one exchange at most, under the request's own id."""

    sent_ns: Nanoseconds | None
    received_ns: Nanoseconds | None
    calls: list[Call] = msgspec.field(default_factory=list)

    def now(self) -> Request:
        """Return it as it would be recorded today."""
        if self.sent_ns is not None and self.received_ns is not None:
            self.calls = [Call(self.id, self.sent_ns, self.received_ns)]
        return self


def read_requests(
    folder: Path, *, schema: int = SCHEMA, places: Counter[Path] | None = None
) -> Iterator[Request]:
    """Yield every request, recorded in that schema. Raises ResultsError naming a damaged line.

    It goes on from `places`, as `lines_of` does.
    """
    decode: Callable[[bytes], Request] = msgspec.json.Decoder(Request).decode
    if schema == 1:
        old = msgspec.json.Decoder(RequestV1)
        decode = lambda line: old.decode(line).now()  # noqa: E731
    for path in sorted(folder.glob("requests-*.jsonl")):
        began = places[path] if places else 0
        for number, line in enumerate(lines_of(path, places), start=1):
            try:
                request = decode(line)
                if request.end_ns < request.due_ns:
                    raise msgspec.ValidationError("it ends before it was due")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                number += path.read_bytes()[:began].count(b"\n")
                raise ResultsError(f"{path}, line {number} is damaged: {error}") from error
            yield request


def read_samples(folder: Path) -> list[Sample]:
    """Return the CPU and memory samples, none when the run took none."""
    return _read_lines(folder / SAMPLES, Sample)


def write_images(folder: Path, images: Iterable[Image]) -> None:
    """Write down what was asked with. Raises ResultsError when the disk is full."""
    lines = [msgspec.json.encode(image) + b"\n" for image in images]
    write_atomically(folder / IMAGES, b"".join(lines))


def read_images(folder: Path) -> list[Image]:
    """Return what was asked with, nothing of older runs."""
    return _read_lines(folder / IMAGES, Image)


def read_paused_ns(folder: Path, *, window_ns: tuple[int, int]) -> int:
    """Return how long the load was paused in the window, 0 of one that took no turns."""
    start, end = window_ns
    turns = _read_lines(folder / TURNS, Turn)
    ends = [*(turn.time_ns for turn in turns[1:]), end][: len(turns)]
    return sum(
        max(0, min(until, end) - max(turn.time_ns, start))
        for turn, until in zip(turns, ends, strict=True)
        if not turn.running
    )


def _read_lines(path: Path, kind: type[T]) -> list[T]:
    """Return what each line holds; nothing where there is no such file."""
    if not path.exists():
        return []
    decode = msgspec.json.Decoder(kind).decode
    return [
        decoded(line, decode, named=f"{path}, line {number}")
        for number, line in enumerate(lines_of(path), start=1)
    ]


def read_apportion(folder: Path) -> dict[str, float] | None:
    """Return the share of each step in DALI's box, or None when it was not measured."""
    path = folder / APPORTION
    try:
        data = read_whole(path)
    except FileNotFoundError:
        return None
    shares = decoded(data, msgspec.json.Decoder(_Shares).decode, named=str(path))
    return msgspec.structs.asdict(shares)
