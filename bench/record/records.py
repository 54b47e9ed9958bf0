"""`results/<run>/`: the files in which the load half and the analysis half of `bench` meet.

    manifest.json          how the run was made, and its window of measurement
    requests-<pid>.jsonl   one Request a line, by each load generator process
    spans-<pid>.jsonl      one ToldSpan a line, by each process of a server with visiontax_spans
    trace.csv              Triton's trace, one row per model execution (trace.json.* until the end)
    crowd-<pid>.jsonl      how many requests it had in flight, four times a second
    samples.jsonl          CPU time and memory of generator, server and machine, once a second
    energy.jsonl           what the machine's counters of energy say, once a second
    hosts/<tag>/           what was recorded on another host, as `hosts.py` beside this has it;
                           requests- and samples-<tag>.jsonl are the same by this run's clock
    images.jsonl           the images that were asked with, in the order of their numbers
    turns.jsonl            of a load that took turns with another: since when it ran or paused
    apportion.json         for DALI: the shares of decode, resize and normalize in its one box
    statistics.jsonl       of a server that was attached to: its counters, once a second
    died.json              of a Triton that ended by itself in the run: when, how, its last lines
    otlp.jsonl             and what it exported, where OpenTelemetry's spans are the level

Everything but the manifest is append-only while the run goes on.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.record.files import (
    blocks_of,
    decoded,
    lines_of,
    read_lines,
    read_whole,
    write_atomically,
)
from bench.record.manifest import SCHEMA, Seconds
from pipelines.errors import ResultsError
from pipelines.spans import Call, Count, Nanoseconds, Request

_STACK = re.compile(r"\s*\d+# |Signal \(\d+\) received|\s*$|[IW]\d{4} ")
"""A line of a stack, or one that tells of no error."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

SAMPLES = "samples.jsonl"
ENERGY = "energy.jsonl"
TRACE = "trace.csv"
TURNS = "turns.jsonl"
IMAGES = "images.jsonl"
APPORTION = "apportion.json"
DIED = "died.json"
CROWD = "crowd-*.jsonl"

DROPPED = "dropped: as many requests as may be were under way when it was due"
"""The error of a request of an open loop that nobody sent."""


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """A server that ended by itself: `how` ("SIGSEGV", "code 1"), when, and its last lines."""

    how: str
    time_ns: Nanoseconds
    lines: list[str]

    @property
    def words(self) -> str:
        """The line that says most: of a crash the one before its stack, else the last."""
        said = [line for line in self.lines if not _STACK.match(line)]
        return said[-1].strip()[:200] if said else "it said nothing"


MACHINE, MONITOR = "machine", "monitor"
"""The role of samples that are of no process, and of the process that takes them."""


ON_OTHER_HOSTS = 1 << 22
"""Processes with numbers from here on are of other hosts; Linux itself gives lower ones."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process at one moment: `cpu_s` is its CPU time so far.

    Its `role` is generator, server, worker, broker or MONITOR; or MACHINE, of whoever used the
    cores that the load may use, under the pid 0. `memory_bytes` is what it has in memory (RSS),
    and `listens` says that it is the one at the server's or the broker's address. Of MACHINE alone
    are `steal_s`, what other guests of the host took of `cpu_s`, and `unix_ns`, the wall clock at
    `time_ns`. They are None, or false, in older runs.
    """

    time_ns: Nanoseconds
    role: str
    pid: int
    cpu_s: Seconds
    memory_bytes: Count | None = None
    listens: bool = False
    steal_s: Seconds | None = None
    unix_ns: Nanoseconds | None = None


PROCESSORS, GPU = "package-", "gpu-"
"""How the names of counters begin: those of a processor, or of its memory, and those of a GPU."""


class EnergyRead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a counter of energy had counted at one moment, in microjoules: from 0 again above
    `range_uj`, None of one that never gets there. Or why it cannot be read: `lacking`.
    """

    time_ns: Nanoseconds
    counter: str
    energy_uj: Count | None = None
    range_uj: Count | None = None
    lacking: str = ""


class Crowd(msgspec.Struct, frozen=True):
    """How many requests one load generator process had in flight, each from due to done.

    `spent_ns` is the time that these, and all before them, had been in flight until then, summed.
    """

    time_ns: Nanoseconds
    requests: Count
    spent_ns: Nanoseconds


class Image(msgspec.Struct, frozen=True):
    """One of the images that were asked with, of `width` x `height` pixels; `bytes` as stored."""

    name: str
    format: str
    width: Count
    height: Count
    bytes: Count


class ToldSpan(msgspec.Struct, frozen=True, gc=False):
    """What code of the user's told of itself, by `pipelines/servers/visiontax_spans.py`.

    `stage`: its own word for what it did; `request` is all of the time that a web server had it.
    `where`: the model of Triton, or the program.
    `ids`: of the requests, or calls, that shared the work; none where none was found.
    `waiting`: of the others in the same batch.
    """

    stage: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    where: str
    ids: list[str]
    waiting: list[str]
    pid: Count
    thread: Count


class _Shares(msgspec.Struct):
    decode: Share
    resize: Share
    normalize: Share


class Turn(msgspec.Struct, frozen=True):
    """From `time_ns` on the load was running, or paused."""

    time_ns: Nanoseconds
    running: bool


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
    """Yield every request, recorded in that schema. Raises as `requests_at_a_time` does."""
    return itertools.chain.from_iterable(requests_at_a_time(folder, schema=schema, places=places))


def requests_at_a_time(
    folder: Path, *, schema: int = SCHEMA, places: Counter[Path] | None = None
) -> Iterator[list[Request]]:
    """Yield the requests, recorded in that schema, in the order of their records: as many as are in
    a block of a file. Raises ResultsError naming a damaged line.

    It goes on from `places`, as `blocks_of` does.
    """
    decoder = msgspec.json.Decoder(RequestV1 if schema == 1 else Request)
    for path in request_files(folder):
        for block in blocks_of(path, places):
            try:
                some = _decoded(decoder, block)
            except _DAMAGES as error:
                raise _damage(path, decoder) from error
            yield [one.now() for one in some] if schema == 1 else some


_DAMAGES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _decoded(decoder: msgspec.json.Decoder[Any], lines: bytes) -> list[Any]:
    found = decoder.decode_lines(lines)
    if any(one.end_ns < one.due_ns for one in found):
        raise msgspec.ValidationError("it ends before it was due")
    if len(found) != lines.count(b"\n"):
        raise msgspec.DecodeError("it is no one request")
    return found


def _damage(path: Path, decoder: msgspec.json.Decoder[Any]) -> ResultsError:
    """What is wrong with the first line that something is wrong with."""
    for number, line in enumerate(lines_of(path), start=1):
        try:
            _decoded(decoder, line)
        except _DAMAGES as error:
            return ResultsError(f"{path}, line {number} is damaged: {error}")
    return ResultsError(f"{path} is damaged")


def request_files(folder: Path) -> list[Path]:
    """Return the records of each process of the load generator."""
    return sorted(folder.glob("requests-*.jsonl"))


def read_energy(folder: Path) -> list[EnergyRead]:
    """Return what the counters of energy said; nothing of older runs."""
    return read_lines(folder / ENERGY, EnergyRead)


def read_samples(folder: Path) -> list[Sample]:
    """Return the samples, also those of other hosts; none when the run took none."""
    paths = [folder / SAMPLES, *sorted(folder.glob("samples-*.jsonl"))]
    return [sample for path in paths for sample in read_lines(path, Sample)]


def read_crowds(folder: Path) -> list[list[Crowd]]:
    """Return what each load generator process counted, nothing of older runs."""
    return [read_lines(path, Crowd) for path in sorted(folder.glob(CROWD))]


def read_told(folder: Path, places: Counter[Path] | None = None) -> Iterator[ToldSpan]:
    """Yield the spans that servers told. Raises and goes on as `read_requests` does."""
    decode = msgspec.json.Decoder(ToldSpan).decode
    for path in sorted(folder.glob("spans-*.jsonl")):
        for number, line in enumerate(lines_of(path, places), start=1):
            yield decoded(line, decode, named=f"{path}, line {number}")


def write_images(folder: Path, images: Iterable[Image]) -> None:
    """Write down what was asked with. Raises ResultsError when the disk is full."""
    lines = [msgspec.json.encode(image) + b"\n" for image in images]
    write_atomically(folder / IMAGES, b"".join(lines))


def read_images(folder: Path) -> list[Image]:
    """Return what was asked with, nothing of older runs."""
    return read_lines(folder / IMAGES, Image)


def read_paused_ns(folder: Path, *, window_ns: tuple[int, int]) -> int:
    """Return how long the load was paused in the window, 0 of one that took no turns."""
    start, end = window_ns
    turns = read_lines(folder / TURNS, Turn)
    ends = [*(turn.time_ns for turn in turns[1:]), end][: len(turns)]
    return sum(
        max(0, min(until, end) - max(turn.time_ns, start))
        for turn, until in zip(turns, ends, strict=True)
        if not turn.running
    )


def read_died(folder: Path) -> Died | None:
    """Return how the run's server ended by itself, or None where it did not."""
    path = folder / DIED
    try:
        data = read_whole(path)
    except FileNotFoundError:
        return None
    return decoded(data, msgspec.json.Decoder(Died).decode, named=str(path))


def read_apportion(folder: Path) -> dict[str, float] | None:
    """Return the share of each step in DALI's box, or None when it was not measured."""
    path = folder / APPORTION
    try:
        data = read_whole(path)
    except FileNotFoundError:
        return None
    shares = decoded(data, msgspec.json.Decoder(_Shares).decode, named=str(path))
    return msgspec.structs.asdict(shares)
