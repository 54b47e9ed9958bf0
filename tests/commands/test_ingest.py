"""`bench ingest`: real recordings of the embedded Triton become runs that its counters confirm."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from counted import COUNTED, DNN, PREPROCESS, WHOLE
from hostile import a_byte, a_device, a_fifo, a_name, a_value, empty, nested, noise, not_utf8
from pictures import GOOD
from processes import bench, refused, until

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.reading import read, summary_of
from bench.prepare.repository import models_of
from bench.record import records, trace
from bench.record.foreign import traffic
from pipelines.servers import control
from pipelines.servers import triton as embedded
from pipelines.spans import Call
from pipelines.topologies.choose import Setup, pipeline

pytestmark = pytest.mark.usefixtures("forgiving")

SECOND = 1_000_000_000


def ask(server: embedded.Server, requests: int, *, transports: Sequence[str]) -> None:
    for transport in transports:
        setup = Setup(server=server.url, transport=transport, grpc_port=server.port + 1)
        with contextlib.closing(pipeline(setup)) as asked:
            for number in range(requests):
                asked(GOOD, request_id=f"{transport}-{number}")


def counts(statistics: bytes) -> Counter[str]:
    """How many requests each model has answered."""
    told = {one["name"]: one["inference_stats"] for one in json.loads(statistics)["model_stats"]}
    return Counter({name: int(one["success"]["count"]) for name, one in told.items()})


def asked_of(server: embedded.Server) -> bytes:
    """Its statistics."""
    with urllib.request.urlopen(f"http://{server.url}/v2/models/stats") as reply:
        return bytes(reply.read())


def dump(server: embedded.Server, path: Path, *, since: bytes, requests: int) -> bytes:
    """Keep its statistics once they have so many requests more: it counts one, and its trace ends,
    after it has sent the reply.
    """
    wanted = counts(since) + Counter(dict.fromkeys((WHOLE, PREPROCESS, DNN), requests))
    until(lambda: wanted <= counts(asked_of(server)), "all are counted")
    time.sleep(0.3)
    told = asked_of(server)
    path.write_bytes(told)
    return told


def traced(file: Path, first: int) -> int:
    """How many executions are in Triton's files of that number and later."""
    return sum(
        path.read_bytes().count(b'"request_id":')
        for number, path in trace.numbered(file)
        if number >= first
    )


@pytest.fixture(scope="module")
def recorded(triton: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trace of 80 requests in two files, and the statistics around them."""
    folder = tmp_path_factory.mktemp("recorded")
    file = Path(control.setting(triton.url)["trace_file"])
    time.sleep(0.3)
    since = asked_of(triton)
    ask(triton, 3, transports=("http", "grpc"))
    before = dump(triton, folder / "before.json", since=since, requests=6)
    control.turn_off(triton.url)
    first = trace.next_number(file)
    control.turn_on(triton.url)
    ask(triton, 40, transports=("http", "grpc"))
    dump(triton, folder / "after.json", since=before, requests=80)
    control.turn_off(triton.url)
    until(lambda: traced(file, first) >= 80 * 3, "all executions are in the files")
    trace.collect(file, folder, first=first, last=True)
    assert len(list(folder.glob("trace.json.*"))) == 2
    return folder


class Receiver(HTTPServer):
    """What Triton exports to, in the place of OpenTelemetry's collector: `lines` are its file's."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.lines: list[str] = []

    @property
    def spans(self) -> int:
        return sum(line.count('"traceId"') for line in self.lines)


class _Receiving(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Receiver)
        self.server.lines.append(json.dumps(json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def exported(triton_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A folder with what a Triton in OpenTelemetry mode exported, and the statistics around it."""
    folder = tmp_path_factory.mktemp("exported")
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True).start()
    options = embedded.options

    def tracing(*arguments: Any, **more: Any) -> list[str]:
        own = [word for word in options(*arguments, **more) if "--trace" not in word]
        url = f"http://127.0.0.1:{receiver.server_port}/v1/traces"
        changes = ("mode=opentelemetry", "level=TIMESTAMPS", "rate=1", f"opentelemetry,url={url}")
        delay = "opentelemetry,bsp_schedule_delay=200"
        return own + [f"--trace-config={change}" for change in (*changes, delay)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "options", tracing)
        server = embedded.start(folder, models=models_of(["classification"]))
    with server:
        server.wait_ready()
        before = dump(server, folder / "before.json", since=asked_of(server), requests=0)
        ask(server, 25, transports=("http", "grpc"))
        dump(server, folder / "after.json", since=before, requests=50)
        until(lambda: receiver.spans >= 50 * 6, "all spans are exported")
        server.process.kill()
    receiver.shutdown()
    receiver.server_close()
    (folder / "spans.jsonl").write_text("".join(f"{line}\n" for line in receiver.lines))
    return folder


def files(recorded: Path) -> list[Path]:
    """The files of the trace, in their order: the second is shorter."""
    return sorted(recorded.glob("trace.json.*"), key=lambda path: int(path.suffix[1:]))


def ingest(*files: object, results: Path, code: int = 0) -> list[Path]:
    """The folders of the runs."""
    done = bench("ingest", *files, "--results", results)
    assert done.returncode == code, done.stdout + done.stderr
    return [Path(line) for line in re.findall(r"^results: (.*)$", done.stderr, re.MULTILINE)]


def statistics(folder: Path) -> dict[str, Any]:
    done = bench("ingest", folder / "before.json", folder / "after.json", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_as_counted(run: Path, counted: dict[str, Any], *, requests: int) -> None:
    """The means of each model in the run's trace are those that Triton counted."""
    rows = trace.read(run)
    models = {one["model"]: one for one in counted["models"]}
    assert set(models) == {WHOLE, PREPROCESS, DNN}
    for name in (PREPROCESS, DNN):
        own = rows[rows["model"] == name]
        assert len(own) == models[name]["requests"] == requests
        for column, (start, end) in COUNTED.items():
            mean_ms = float((own[end] - own[start]).mean()) / 1e6
            assert mean_ms == pytest.approx(models[name][column], rel=0.03), (name, column)


def test_a_trace_agrees_with_the_counters(recorded: Path, tmp_path: Path) -> None:
    (run,) = ingest(*recorded.glob("trace.json.*"), results=tmp_path)
    assert_as_counted(run, statistics(recorded), requests=80)


def test_what_opentelemetry_exported_agrees_with_the_counters(
    exported: Path, tmp_path: Path
) -> None:
    (run,) = ingest(exported / "spans.jsonl", results=tmp_path)
    assert_as_counted(run, statistics(exported), requests=50)
    before, after = ((exported / f"{name}.json").stat() for name in ("before", "after"))
    assert before.st_mtime_ns < read(run).manifest.window_start_ns < after.st_mtime_ns


def test_every_nanosecond_is_accounted_for(recorded: Path, tmp_path: Path) -> None:
    (run,) = ingest(*recorded.glob("trace.json.*"), results=tmp_path)
    reading = read(run)
    assert (reading.ledger.time_ns.sum(axis=1) == reading.ledger.latency_ns).all()
    summary = reading.summary()
    assert [issue.code for issue in summary.issues] == ["FEW"]
    # The median: on a busy machine single requests wait for a core between two stages.
    assert np.median(reading.ledger.time_of("other") / reading.ledger.latency_ns) < 0.01
    assert summary.stages.keys() == {
        *("send", "queue", "input", "preprocess", "inference", "output", "receive", "other")
    }
    rows = trace.read(run)
    dnn = rows[rows["model"] == DNN]
    took = (dnn["COMPUTE_OUTPUT_START"] - dnn["COMPUTE_INPUT_END"]).to_numpy()
    assert summary.stages["inference"].mean_ms == pytest.approx(np.mean(took) / 1e6, rel=0.01)


def test_the_ledger_of_a_run_of_our_own_says_the_same(recorded: Path, tmp_path: Path) -> None:
    """The same trace by the other road: joined with calls, and swept by that ledger's rules."""
    (run,) = ingest(*recorded.glob("trace.json.*"), results=tmp_path)
    made = [*records.read_requests(run)]
    asked = [
        msgspec.structs.replace(one, spans=[], calls=[Call(one.id, one.due_ns, one.end_ns)])
        for one in made
    ]
    stages = {PREPROCESS: "preprocess", DNN: "inference"}
    joined = ledger(records_of(asked), trace.read(run), stages=stages)
    assert joined.joined.all()
    assert (joined.time_ns == read(run).ledger.time_ns).all()


def test_other_commands_take_the_run(recorded: Path, tmp_path: Path) -> None:
    file, other = files(recorded)
    runs = [*ingest(file, results=tmp_path), *ingest(other, results=tmp_path)]
    for format in ("text", "json", "md", "html"):
        done = bench("report", *runs, "--format", format)
        assert (done.returncode, done.stderr) == (0, "")
        assert "what this source cannot know: " in done.stdout.replace("\n  ", " ")
    done = bench("compare", runs[0], "--with", runs[1])
    assert "these runs are of" not in done.stderr
    assert f"pipeline {WHOLE}" in done.stdout
    assert bench("gate", runs[0], "--require", "p50 < 100s").returncode == 0
    assert "1 user" not in bench("report", runs[0]).stdout


def test_the_stages_of_models_are_as_said(recorded: Path, tmp_path: Path) -> None:
    files = [*recorded.glob("trace.json.*")]
    stage = ("--stage", f"{PREPROCESS}=decode", "--stage", f"{DNN}=postprocess")
    (run,) = ingest(*files, *stage, results=tmp_path)
    summary = summary_of(run)
    assert {"decode", "postprocess"} < summary.stages.keys()
    assert not {"preprocess", "inference"} & summary.stages.keys()
    assert not any("guessed" in note for note in summary.notes)
    words = f"not in the source: nobody\nhint: it has: {DNN}, {PREPROCESS}"
    refused("ingest", *files, "--stage", "nobody=decode", code=1, words=words)
    refused("ingest", *files, "--stage", f"{DNN}=queue", code=2, words="is not MODEL=STAGE")


def test_a_file_that_was_cut_off_gives_what_is_whole(recorded: Path, tmp_path: Path) -> None:
    data = files(recorded)[0].read_bytes()
    path = tmp_path / "trace.json"
    path.write_bytes(data)
    every = {root.request: root for root in traffic.of_trace([path]).roots}
    ends = {}
    for name in every:
        ids = re.findall(rb'\{"id":(\d+),"model_name":[^}]*"request_id":"%s"' % name.encode(), data)
        assert len(ids) == 3
        ends[name] = max(
            m.end() for id in ids for m in re.finditer(rb'\{"id":%s,.*?\]\}' % id, data)
        )
    ordered = sorted(ends.values())
    boundaries = [found.start() + 1 for found in re.finditer(rb"\},\{", data)]
    middle = [at for at in boundaries if ordered[3] <= at <= ordered[5]]
    inner = [found.end() for found in re.finditer(rb"\}\]", data[: ordered[5]])][-40:]
    for cut in [*range(ordered[3] - 150, ordered[5], 37), *middle, *inner]:
        path.write_bytes(data[:cut])
        found = traffic.of_trace([path])
        whole = {name for name, end in ends.items() if end <= cut}
        names = {root.request for root in found.roots}
        assert names <= whole, cut
        assert len(names) >= len(whole) - 1, cut
        for root in found.roots:
            assert [one.events for one in root.all()] == [
                one.events for one in every[root.request].all()
            ]
    path.write_bytes(data[: ordered[5] + 60])
    (run,) = ingest(path, results=tmp_path)
    summary = summary_of(run)
    assert summary.requests == 6
    assert [issue.code for issue in summary.issues] == ["UNFINISHED", "FEW"]


def test_a_trace_of_a_server_that_still_runs_lacks_only_its_bracket(
    recorded: Path, tmp_path: Path
) -> None:
    data = files(recorded)[0].read_bytes()
    path = tmp_path / "trace.json"
    path.write_bytes(data.rstrip().removesuffix(b"]"))
    found = traffic.of_trace([path])
    assert (len(found.roots), found.cut) == (50, False)


def stamps(id: int, model: str, request: str, parent: int, **events: int) -> list[Any]:
    head = {"id": id, "model_name": model, "request_id": request, "parent_id": parent}
    return [
        head,
        *({"id": id, "timestamps": [{"name": name, "ns": ns}]} for name, ns in events.items()),
    ]


def execution(at: int, took: int, **more: int) -> dict[str, int]:
    """Events of an execution that starts then, and computes so long."""
    steps = ("REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END")
    found = {name: at + number * 10 for number, name in enumerate(steps)}
    found |= {"COMPUTE_OUTPUT_START": at + 30 + took, "COMPUTE_END": at + 40 + took}
    return found | {"REQUEST_END": at + 45 + took} | more


def written(path: Path, *parts: list[Any]) -> Path:
    path.write_text(json.dumps([item for part in parts for item in part]))
    return path


def test_a_model_that_asks_others_keeps_only_its_own_time(tmp_path: Path) -> None:
    path = written(
        tmp_path / "t",
        stamps(1, "chain", "", 0, **execution(1000, 1000)),
        stamps(2, "detector", "", 1, **execution(1100, 300)),
        stamps(3, "reader", "", 1, **execution(1600, 200)),
    )
    (run,) = ingest(path, results=tmp_path / "r")
    stages = {name: round(time.mean_ms * 1e6) for name, time in read(run).summary().stages.items()}
    # chain computes 1030..2030, but for the calls, 1100..1440 and 1600..1840
    assert stages["preprocess"] == 1000 - 340 - 240
    assert stages["inference"] == 300 + 200
    assert stages["queue"] == 3 * 20
    assert stages["input"] == 3 * 10
    assert int(read(run).ledger.latency_ns[0]) == 1045
    assert any("chain is preprocess, for it asks" in note for note in summary_of(run).notes)


def test_requests_without_an_id_or_with_one_for_all_are_told_apart(tmp_path: Path) -> None:
    parts = [stamps(n, "m", "same" * (n > 2), 0, **execution(1000 * n, 100)) for n in range(1, 5)]
    (run,) = ingest(written(tmp_path / "t", *parts), results=tmp_path / "r")
    assert len({*trace.read(run)["request"]}) == summary_of(run).requests == 4


def test_each_model_that_is_asked_has_a_run(tmp_path: Path) -> None:
    parts = [stamps(n, f"m/{n}", "", 0, **execution(1000 * n, 100)) for n in (1, 2)]
    runs = ingest(written(tmp_path / "t", *parts), results=tmp_path / "r")
    assert [summary_of(run).pipeline for run in runs] == ["m/1", "m/2"]


def test_what_no_model_computed_is_an_error(tmp_path: Path) -> None:
    done = [stamps(n, "m", "", 0, **execution(1000 * n, 100)) for n in range(1, 5)]
    refused_ = stamps(9, "m", "", 0, REQUEST_START=9000, QUEUE_START=9010, REQUEST_END=9020)
    (run,) = ingest(written(tmp_path / "t", *done, refused_), results=tmp_path / "r", code=4)
    assert summary_of(run).errors == 1


def test_two_files_with_the_same_numbers_are_two_servers_lives(tmp_path: Path) -> None:
    one, two = (
        written(tmp_path / name, stamps(1, "m", "", 0, **execution(at, 100)))
        for name, at in (("a", 1000), ("b", 5000))
    )
    (run,) = ingest(one, two, results=tmp_path / "r")
    assert summary_of(run).requests == 2
    refused("ingest", one, one, code=1, words="the same file is given twice")


def span(number: int, parent: str, name: str, trace: str, **events: int) -> dict[str, Any]:
    model = [{"key": "triton.model_name", "value": {"stringValue": name}}]
    return {
        "traceId": trace,
        "spanId": f"{number:x}",
        "parentSpanId": parent,
        "name": name,
        "attributes": model if name not in ("InferRequest", "compute", "client") else [],
        "events": [{"name": event, "timeUnixNano": str(ns)} for event, ns in events.items()],
    }


def line(host: str, *spans: dict[str, Any]) -> str:
    named = [{"key": "service.instance.id", "value": {"stringValue": host}}]
    found = {"resource": {"attributes": named}, "scopeSpans": [{"spans": list(spans)}]}
    return json.dumps({"resourceSpans": [found]}) + "\n"


def one_request(number: int, at: int, *, trace: str, parent: str = "") -> list[dict[str, Any]]:
    """The spans of a request under a client's, as Triton makes them."""
    events = execution(at, 100)
    compute = {name: ns for name, ns in events.items() if name.startswith("COMPUTE")}
    rest = {name: ns for name, ns in events.items() if name not in compute}
    received = {"HTTP_RECV_START": at - 50, "HTTP_SEND_END": at + 200, "HTTP_SEND_START": at + 190}
    return [
        span(number, parent, "InferRequest", trace, **received),
        span(number + 1, f"{number:x}", "m", trace, **rest),
        span(number + 2, f"{number + 1:x}", "compute", trace, **compute),
    ]


def test_spans_are_related_within_one_instance_only(tmp_path: Path) -> None:
    """Two servers in one trace of a client's, with the same ids of spans, an hour apart."""
    path = tmp_path / "spans.jsonl"
    hour = 3600 * SECOND
    a = one_request(2, SECOND, trace="t", parent="1")
    b = one_request(2, SECOND + hour, trace="t", parent="1")
    again = one_request(20, 2 * SECOND, trace="t", parent="1")  # asked twice in one trace
    client = line("client", span(1, "", "client", "t"))
    path.write_text(client + line("a", *reversed(a)) + line("b", *b) + line("a", *again))
    (run,) = ingest(path, results=tmp_path / "r")
    reading = read(run)
    assert [*reading.ledger.latency_ns] == [250] * 3
    notes = reading.summary().notes
    assert any("2 service instances took part" in note for note in notes)


def test_a_request_whose_spans_were_not_all_exported_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    whole, part = one_request(2, SECOND, trace="a"), one_request(12, SECOND, trace="b")
    del part[1]["events"][-1]
    path.write_text(line("a", *whole, *part) + line("a", *whole)[:200])
    (run,) = ingest(path, results=tmp_path / "r")
    summary = summary_of(run)
    assert summary.requests == 1
    assert "UNFINISHED" in [issue.code for issue in summary.issues]
    assert any("1 executions are left out" in note for note in summary.notes)


def test_counters_are_compared_in_their_order(recorded: Path, tmp_path: Path) -> None:
    before, after = recorded / "before.json", recorded / "after.json"
    words = "went backwards, from"
    refused("ingest", after, before, code=1, words=words)
    refused("ingest", before, code=1, words="two are needed")
    same = tmp_path / "same.json"
    same.write_bytes(before.read_bytes())
    refused("ingest", before, same, code=1, words="no model was asked between the two dumps")
    text = bench("ingest", before, after).stdout
    assert "what this source cannot know: single requests" in text
    assert max(map(len, text.splitlines())) <= 100
    assert f"| {DNN} | inference | 80 |" in bench("ingest", before, after, "--format", "md").stdout


def test_batches_are_told_by_their_size(tmp_path: Path) -> None:
    def written_stats(name: str, times: int) -> Path:
        count = {"count": f"{4 * times}", "ns": f"{4_000_000 * times}"}
        stats = dict.fromkeys(("success", "queue", "compute_infer"), count)
        batch = {"batch_size": "4", "compute_infer": {"count": times, "ns": 1}}
        model = {"name": "m", "version": "1", "inference_count": 4 * times}
        model |= {"execution_count": times, "inference_stats": stats, "batch_stats": [batch]}
        path = tmp_path / name
        path.write_text(json.dumps({"model_stats": [model]}))
        return path

    before, after = written_stats("before", 1), written_stats("after", 3)
    done = bench("ingest", before, after)
    assert "batches of m: 2 of 4" in done.stdout
    (model,) = json.loads(bench("ingest", before, after, "--format", "json").stdout)["models"]
    assert (model["requests"], model["batches"], model["total_ms"]) == (8, {"4": 2}, 1.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"hello", "is no recording that can be read\nhint: give Triton's trace"),
        (b'{"a":1}', "is no recording that can be read"),
        (b"\x1f\x8b123", "is no recording that can be read\nhint: it is compressed"),
        (b"[]", "there is no whole request"),
        (b'[{"id":1},{"id":x},{"id":2}]', "malformed: invalid character (byte 16)"),
        (b'[{"id":-1}]', "damaged"),
        (b'{"model_stats":7}', "damaged"),
        (b'{"resourceSpans":[]}\n{"resourceSpans":x}\n{}\n', "line 2 is damaged"),
        (b'{"resourceSpans":[]}\n', "there is no whole request"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_its_cure(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    for each in (path, other):
        each.write_bytes(content)
    files = (path, other) if b"model_stats" in content else (path,)
    said = refused("ingest", *files, "--results", tmp_path / "r", code=1, words=words)
    assert (said.count("error: "), said.count("hint: ")) == (1, 1)


@pytest.mark.parametrize("name", ["trace.json.0", "spans.jsonl", "after.json"])
def test_no_damage_is_a_traceback(
    recorded: Path, exported: Path, tmp_path: Path, name: str
) -> None:
    chance = random.Random(1)
    folder = exported if name == "spans.jsonl" else recorded
    whole = min(folder.glob("trace.json.*")) if name.startswith("trace") else folder / name
    before = [recorded / "before.json"] if name == "after.json" else []
    damages = (empty, not_utf8, noise, a_fifo, a_device, nested, *[a_byte, a_value, a_name] * 3)
    for damage in damages:
        path = tmp_path / damage.__name__
        path.unlink(missing_ok=True)
        path.write_bytes(whole.read_bytes()[:60_000])
        damage(chance, path)
        done = bench("ingest", *before, path, "--results", tmp_path / "r")
        assert done.returncode in (0, 1, 4), done.stderr
        assert done.stderr.count("error: ") == (done.returncode == 1), done.stderr
        assert "Traceback" not in done.stderr
