"""What `bench trace` writes: the bars of each track, and what Perfetto itself finds in the file."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from attached_run import attached
from experiments import MS, S, manifest, request, write_run, write_steady_run
from hostile import run_folder
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    BuiltinClock,
    Trace,
    TrackDescriptor,
    TrackEvent,
)
from perfetto_ui import Perfetto
from processes import ROOT, bench, refused

from bench.ledger.attribution.table import COLUMNS
from bench.ledger.reading import read, summary_of
from bench.report.exports.perfetto import Slice, lanes
from pipelines.spans import OTHER, Request, Span

COUNTERS = """select name, ts, value from counter join counter_track
on counter.track_id = counter_track.id order by ts"""


class Bar(NamedTuple):
    """A slice; `track` are the names of its track and those above, the whole group's first."""

    track: tuple[str, ...]
    category: str
    name: str
    start_ns: int
    end_ns: int
    depth: int
    told: dict[str, Any]


class Opened:
    """A file as Perfetto opens it: ends close the bar of their track that began last."""

    def __init__(self, file: Path) -> None:
        self._packets = Trace.FromString(file.read_bytes()).packet
        self._tracks = {
            one.track_descriptor.uuid: one.track_descriptor
            for one in self._packets
            if one.HasField("track_descriptor")
        }
        self.bars: list[Bar] = []
        self.counters: dict[str, list[tuple[int, float]]] = defaultdict(list)
        under_way: dict[int, list[Any]] = defaultdict(list)
        events = [one for one in self._packets if one.HasField("track_event")]
        assert all(one.trusted_packet_sequence_id for one in events)
        for one in sorted(events, key=lambda one: one.timestamp):  # stable, as theirs is
            event = one.track_event
            began = under_way[event.track_uuid]
            if event.type == TrackEvent.TYPE_COUNTER:
                counted = (one.timestamp, event.double_counter_value)
                self.counters[self._tracks[event.track_uuid].name].append(counted)
            elif event.type == TrackEvent.TYPE_SLICE_BEGIN:
                began.append(one)
            else:
                self.bars.append(self._bar(began.pop(), one.timestamp, depth=len(began)))
        assert not any(under_way.values())

    def _bar(self, began: Any, end_ns: int, *, depth: int) -> Bar:
        event, names, uuid = began.track_event, list[str](), began.track_event.track_uuid
        while uuid:
            names.insert(0, self._tracks[uuid].name)
            uuid = self._tracks[uuid].parent_uuid
        told = {one.name: getattr(one, one.WhichOneof("value")) for one in event.debug_annotations}
        (category,) = event.categories
        return Bar(tuple(names), category, event.name, began.timestamp, end_ns, depth, told)

    def of(self, category: str, **told: Any) -> list[Bar]:
        """The bars of a category that tell this, in time."""
        found = [one for one in self.bars if one.category == category]
        found = [one for one in found if told.items() <= one.told.items()]
        return sorted(found, key=lambda one: (one.start_ns, -one.end_ns, one.depth))

    def groups(self) -> list[str]:
        """The names in the run's group, from above."""
        (top,) = (one for one in self._tracks.values() if not one.parent_uuid)
        below = [one for one in self._tracks.values() if one.parent_uuid == top.uuid]
        assert top.child_ordering == TrackDescriptor.EXPLICIT
        return [one.name for one in sorted(below, key=lambda one: one.sibling_order_rank)]

    def wall_clock_ns(self) -> int:
        """How far the wall clock is ahead of the trace's."""
        (found,) = (one.clock_snapshot for one in self._packets if one.HasField("clock_snapshot"))
        assert found.primary_trace_clock == BuiltinClock.BUILTIN_CLOCK_MONOTONIC
        at = {one.clock_id: one.timestamp for one in found.clocks}
        return at[BuiltinClock.BUILTIN_CLOCK_REALTIME] - at[found.primary_trace_clock]


def traced(folder: Path, *options: object) -> Opened:
    """What `bench trace` writes of the run."""
    done = bench("trace", folder, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ui.perfetto.dev" in done.stdout
    return Opened(Path(done.stdout.split(": ")[0]))


def fanned_out(folder: Path, **changes: Any) -> Path:
    """A run of one request whose two crops overlap, and only the second is waited for."""
    spans = [
        Span("decode", 0, 30 * MS, "first"),
        Span("inference", 30 * MS, 60 * MS, "first"),
        Span("broker", 60 * MS, 90 * MS, "second", critical=False),
        Span("inference", 65 * MS, 85 * MS, "dnn", 3, critical=False),
        Span("broker", 70 * MS, 95 * MS, "second"),
        Span("inference", 80 * MS, 95 * MS, "dnn", 2),
        Span("parse", 96 * MS, 96 * MS, "client"),
    ]
    times = (0, 0, 100 * MS)
    made = Request("r0", "faces", *times, None, 7, 9, spans, [], 0)
    return write_run(folder, manifest(folder.name, **changes), [made])


def documented() -> str:
    """The SQL of docs/results.md."""
    (found,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.DOTALL)
    return found


def by_the_ledger(folder: Path) -> dict[tuple[int, int, str], float]:
    """The ms of each stage of each request, which is known by when it was due and done."""
    kept = read(folder).ledger
    return {
        (due, end, stage): int(time) / 1e6
        for due, end, times in zip(kept.due_ns, kept.end_ns, kept.time_ns, strict=True)
        for stage, time in zip(COLUMNS, times, strict=True)
        if time
    }


def at_the_server(folder: Path) -> Path:
    return attached(folder, "trace", ids=["r1", "r2", "r3"], seen=["r1", "r2"])


@pytest.mark.parametrize("made", [run_folder, at_the_server, fanned_out])
def test_the_ledgers_times_follow_each_other_without_a_gap(
    tmp_path: Path, made: Callable[[Path], Path]
) -> None:
    folder = made(tmp_path / "run")
    found = traced(folder)
    assert len(found.of("request")) == len(read(folder).ledger.due_ns)
    for one in found.of("request"):
        parts = found.of("ledger", request=one.name)
        edges = [one.start_ns, *(part.end_ns for part in parts)]
        assert [*(part.start_ns for part in parts), one.end_ns] == edges


@pytest.mark.parametrize("made", [run_folder, at_the_server, fanned_out])
def test_perfetto_opens_the_file_and_its_sql_finds_the_ledgers_times(
    tmp_path: Path, made: Callable[[Path], Path], perfetto: Perfetto
) -> None:
    folder = made(tmp_path / "run")
    found = traced(folder)
    perfetto.open(folder / "requests.pftrace")
    assert perfetto.query("select name from stats where severity = 'error' and value > 0") == []
    times = {one.name: (one.start_ns, one.end_ns) for one in found.of("request")}
    sums = {(*times[id], stage): ms for id, stage, ms in perfetto.query(documented())}
    assert sums == pytest.approx(by_the_ledger(folder), rel=1e-9)
    bars = [one[1:6] for one in found.bars]
    shown = perfetto.query("select category, name, ts, ts + dur, depth from slice")
    assert sorted(shown) == sorted(bars)
    counted = defaultdict(list)
    for name, *at in perfetto.query(COUNTERS):
        counted[name].append(tuple(at))
    assert counted == found.counters


def test_what_crops_overlap_in_is_on_tracks_of_its_own_and_nests(tmp_path: Path) -> None:
    found = traced(fanned_out(tmp_path / "run"))
    spans = found.of("span", request="r0")
    said = ("where", "items", "critical")
    shown = [(one.name, *(one.told[name] for name in said)) for one in spans]
    assert shown == [
        ("decode", "first", 1, True),
        ("inference", "first", 1, True),
        ("broker", "second", 1, False),
        ("inference", "dnn", 3, False),
        ("broker", "second", 1, True),
        ("inference", "dnn", 2, True),
    ]
    assert [one.depth for one in spans] == [0, 0, 0, 1, 0, 1]
    assert len({one.track for one in spans}) == 1  # of one name, each in the request's group
    stages = [(one.name, one.end_ns // MS) for one in found.of("ledger")]
    assert stages == [
        *(("decode", 30), ("inference", 60), (OTHER, 70)),
        *(("broker", 80), ("inference", 95), (OTHER, 100)),
    ]


SLICE = st.builds(
    lambda start, length: Slice("", start, start + length, {}),
    st.integers(0, 30),
    st.integers(0, 30),
)


@given(st.lists(SLICE, max_size=12))
def test_on_one_track_bars_follow_or_hold_each_other(slices: list[Slice]) -> None:
    found = lanes(slices)
    lasting = sorted(one[1:3] for one in slices if one.start_ns < one.end_ns)
    assert sorted(one[1:3] for lane in found for one in lane) == lasting
    for lane in found:
        for number, before in enumerate(lane):
            for after in lane[number + 1 :]:
                assert before.start_ns <= after.start_ns
                assert after.start_ns >= before.end_ns or after.end_ns <= before.end_ns


def test_the_slowest_come_first_and_only_measured_ones(tmp_path: Path) -> None:
    took_ms = (10, 70, 30, 50, 90)
    made = [
        request(number, number * 100 * MS, {"inference": ms}) for number, ms in enumerate(took_ms)
    ]
    made[3].error = "refused"
    told = manifest("run", window_start_ns=0, window_end_ns=400 * MS)
    found = traced(write_run(tmp_path / "run", told, made), "--slowest", 2)
    assert [one.split(" · ")[:2] for one in found.groups()[1:]] == [
        ["1. r1", "70.0 ms"],
        ["2. r2", "30.0 ms"],
    ]
    assert [one.told["place"] for one in found.of("request")] == [1, 2]


def test_one_request_is_asked_for_by_its_id_whenever_it_was_due(tmp_path: Path) -> None:
    folder = write_steady_run(tmp_path / "run", {"inference": 10.0}, window_start_ns=S)
    file = tmp_path / "two.pftrace"
    file.write_bytes(b"of before")
    found = traced(folder, "--request", "r3", "--request", "r5", "--output", file)
    assert [one.name for one in found.of("request")] == ["r3", "r5"]
    assert not (folder / "requests.pftrace").exists()


def test_the_run_says_whether_it_can_be_trusted_and_why_not(tmp_path: Path) -> None:
    folder = fanned_out(tmp_path / "run", clock={"monotonic_ns": 5 * S, "unix_ns": 1000 * S})
    found, summary = traced(folder), summary_of(folder)
    window, *issues = found.of("run")
    assert window.name == f"measured: {'VALID' if summary.valid else 'INVALID'}"
    assert (window.start_ns, window.end_ns) == (0, 1000 * S)
    assert window.told["transport"] == "fake"
    assert window.told["errors"] == 0
    assert [one.name.split()[1] for one in issues] == [one.code for one in summary.issues] != []
    assert [one.told["message"] for one in issues] == [one.message for one in summary.issues]
    assert {one.end_ns for one in issues} == {1000 * S}
    assert found.wall_clock_ns() == 995 * S


def test_what_was_counted_all_along_is_the_sum_over_its_processes(tmp_path: Path) -> None:
    folder = fanned_out(tmp_path / "run")
    for pid, counts in ((1, (2, 5, 1)), (2, (3, 3, 0))):
        lines = [
            f'{{"time_ns":{at * S},"requests":{count},"spent_ns":0}}\n'
            for at, count in enumerate(counts)
        ]
        (folder / f"crowd-{pid}.jsonl").write_text("".join(lines))
    used = [("server", 7, 0, 0.0), ("server", 7, S, 0.5), ("server", 7, 3 * S, 2.5)]
    used += [("server", 8, 0, 0.0), ("server", 8, S, 0.25), ("generator", 9, 0, 1.0)]
    sample = '{{"role":"{0}","pid":{1},"time_ns":{2},"cpu_s":{3}}}\n'
    (folder / "samples.jsonl").write_text("".join(sample.format(*one) for one in used))
    found = traced(folder)
    assert found.counters == {
        "in flight": [(0, 5), (S, 8), (2 * S, 1)],
        "server CPU": [(0, 75), (S, 100), (3 * S, 0)],
    }
    assert found.groups()[1:3] == ["in flight", "server CPU"]


def test_the_spans_of_an_attached_server_are_there_and_which_requests_were_seen(
    tmp_path: Path,
) -> None:
    found = traced(at_the_server(tmp_path / "run"))
    assert {one.name: one.told["traced"] for one in found.of("request")} == {
        "r1": True,
        "r2": True,
        "r3": False,
    }
    dnn = found.of("span", request="r1", where="dnn")
    assert [(one.name, one.start_ns // MS, one.end_ns // MS) for one in dnn] == [
        *(("queue", 25, 35), ("input", 35, 36), ("inference", 36, 76), ("output", 76, 77)),
    ]
    (unseen,) = found.of("span", request="r3", where="server")
    assert (unseen.start_ns // MS, unseen.end_ns // MS) == (410, 490)


def test_names_of_strangers_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    folder = fanned_out(tmp_path / "run", run="run\x1b[2J")
    lines = (folder / "requests-1.jsonl").read_bytes()
    lines = lines.replace(b'"second"', b'"\\u202esecond"').replace(b'"r0"', b'"r\\u001b0"')
    (folder / "requests-1.jsonl").write_bytes(lines)
    found = traced(folder)
    assert {one.told["request"] for one in found.of("span")} == {"r\\x1b0"}
    assert "\\u202esecond" in {one.told["where"] for one in found.of("span")}
    assert {one.track[0] for one in found.bars} == {
        f"run\\x1b[2J: {'VALID' if summary_of(folder).valid else 'INVALID'}"
    }


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--request", "r9"), 1, ("has no request r9", "hint: the lines of requests-*.jsonl")),
        (("--request", "r0"), 1, "the request r0 failed: no"),
        (("--request", "r1", "--slowest", "3"), 2, "give one"),
        (("--slowest", "0"), 2, "--slowest"),
        (("--output", "nowhere/file"), 1, "cannot write nowhere/file: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_one_error(
    tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    folder = write_steady_run(tmp_path / "run", {"inference": 10.0}, requests=2, failed=1)
    refused("trace", folder, *options, code=code, words=words)
    assert not (folder / "requests.pftrace").exists()


def test_a_run_without_an_answered_request_is_said(tmp_path: Path) -> None:
    folder = write_steady_run(tmp_path / "run", {"inference": 10.0}, requests=2, failed=2)
    refused("trace", folder, code=1, words="has no answered request")
    refused("trace", tmp_path, code=1, words="is not a run")


def test_a_full_disk_leaves_the_file_of_before(tmp_path: Path) -> None:
    folder = fanned_out(tmp_path / "run")
    file = folder / "requests.pftrace"
    file.write_bytes(b"of before")
    file.with_name(f"{file.name}.partial").symlink_to("/dev/full")
    refused("trace", folder, code=1, words=f"cannot write {file}: No space left on device")
    assert file.read_bytes() == b"of before"
