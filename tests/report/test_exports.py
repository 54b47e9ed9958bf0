"""Runs as other tools' files: what a reader of each finds there is what the ledger says."""

import io
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pandas as pd
import pytest
from attached_run import attached
from click.testing import CliRunner, Result
from experiments import MS, STAGES, S, manifest, request, write_run, write_steady_run
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from processes import PYTHON, ROOT, run

from bench.commands.cli import bench
from bench.commands.selfcheck import scale
from bench.ledger import reading
from bench.ledger.attribution.table import COLUMNS
from bench.ledger.grid.kept import Asked, Done, Kept
from bench.ledger.grid.study import Study
from bench.ledger.units import number
from bench.record import files, records, trace
from bench.record.foreign import otlp
from bench.record.foreign.traffic import Execution, executions, trees
from bench.record.manifest import read_manifest, write_manifest
from bench.report.exports import locust_csv
from pipelines.errors import ResultsError, VisiontaxError

STAGES_MS = [f"{name}_ms" for name in COLUMNS]
UNIX_S = 1_790_000_000
CLOCK = {"monotonic_ns": 0, "unix_ns": UNIX_S * S}
BMF = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "type": "object",
            "required": ["value"],
            "additionalProperties": False,
            "properties": {
                "value": {"type": "number"},
                "lower_value": {"type": "number"},
                "upper_value": {"type": "number"},
            },
        },
    },
}
CUSTOM = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
        "properties": {
            "value": {"type": "number"},
            **{name: {"type": "string"} for name in ("name", "unit", "range", "extra")},
        },
    },
}


def invoke(*arguments: object) -> Result:
    words = ["export", *map(str, arguments)]
    return CliRunner().invoke(bench, words, standalone_mode=False)


def exported(*arguments: object) -> str:
    """What the command prints, or raise what it fails with."""
    done = invoke(*arguments)
    if done.exception:
        raise done.exception
    assert done.return_value == 0, done.output
    return done.stdout


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    """A run of 60 requests with Triton's trace."""
    folder = tmp_path / "traced"
    folder.mkdir()
    scale.write_run(folder, requests=60)
    told = read_manifest(folder)
    write_manifest(folder, msgspec.structs.replace(told, clock=CLOCK))
    return folder


@pytest.fixture
def steady(tmp_path: Path) -> Path:
    """A run of 120 requests of 100 ms, of which the first three failed."""
    return write_steady_run(tmp_path / "steady", STAGES, failed=3, clock=CLOCK)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A run of 120 requests of 100 ms that can be trusted."""
    return write_steady_run(tmp_path / "sound", STAGES, clock=CLOCK)


@pytest.mark.parametrize("bytes_at_a_time", [2_000, 1 << 24])
def test_the_rows_of_csv_are_the_ledger(
    traced: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_a_time: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", bytes_at_a_time)
    told = pd.read_csv(io.StringIO(exported(traced, "--to", "csv")))
    counted = reading.read(traced).ledger
    assert (told["due_ns"] == counted.due_ns).all()
    assert (np.rint(told[STAGES_MS].to_numpy() * MS) == counted.time_ns).all()
    assert (told[STAGES_MS].sum(axis=1).round(6) == told["latency_ms"]).all()
    assert (np.rint(told["latency_ms"] * MS) == counted.latency_ns).all()
    assert told["traced"].all()
    assert told["id"].tolist() == [f"made-up-{number}" for number in range(60)]


def test_an_attached_servers_requests_are_traced_where_they_were_seen(tmp_path: Path) -> None:
    folder = attached(tmp_path / "run", "trace", ids=["a", "b", "c"], seen=["a", "c"])
    told = pd.read_csv(io.StringIO(exported(folder, "--to", "csv"))).set_index("id")
    assert told["traced"].to_dict() == {"a": True, "b": False, "c": True}
    assert (told["server_ms"] > 0).to_dict() == {"a": False, "b": True, "c": False}
    assert (told[STAGES_MS].sum(axis=1).round(6) == told["latency_ms"]).all()


def test_a_failed_request_has_a_row_without_stages(tmp_path: Path) -> None:
    made = [request(0, 0, STAGES), request(1, S, STAGES, error="no\nmore")]
    images = [records.Image(name, "JPEG", 5, 5, 9) for name in ("a.jpg", 'b, "c".jpg')]
    folder = write_run(tmp_path / "run", manifest(window_start_ns=MS), made)
    records.write_images(folder, images)
    good, bad = pd.read_csv(io.StringIO(exported(folder, "--to", "csv"))).to_dict("records")
    assert (good["measured"], bad["measured"]) == (False, True)
    assert (good["image"], bad["image"]) == ("a.jpg", 'b, "c".jpg')
    assert good["decode_ms"] == STAGES["decode"]
    assert bad["error"] == "no\\nmore"
    assert bad["latency_ms"] == sum(STAGES.values())
    assert all(np.isnan(bad[name]) for name in STAGES_MS)


def test_parquet_has_what_csv_has_also_of_several_runs(
    tmp_path: Path, traced: Path, steady: Path
) -> None:
    file = tmp_path / "both.parquet"
    exported(traced, steady, "--to", "parquet", "--output", file)
    told = pd.read_parquet(file)
    text = exported(traced, steady, "--to", "csv")
    read = pd.read_csv(io.StringIO(text), dtype={"image": "str"})
    pd.testing.assert_frame_equal(told, read, check_dtype=False)
    assert told["run"].value_counts().to_dict() == {"traced": 60, "steady": 120}
    assert told["error"].notna().sum() == 3


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, steady: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(VisiontaxError, match="pyarrow") as raised:
        exported(steady, "--to", "parquet", "--output", tmp_path / "file")
    assert "visiontax[parquet]" in raised.value.hint
    assert not [*tmp_path.glob("file*")]


def test_otlp_without_its_package_says_what_to_install(
    steady: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bench.report.exports.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(VisiontaxError, match="OpenTelemetry") as raised:
        exported(steady, "--to", "otlp")
    assert "visiontax[otlp]" in raised.value.hint


def test_bencher_gets_the_numbers_of_the_report_with_their_intervals(sound: Path) -> None:
    told = json.loads(exported(sound, "--to", "bencher"))
    jsonschema.validate(told, BMF)
    ((name, measures),) = told.items()
    summary = reading.summary_of(sound)
    assert summary.latency_ms
    assert name == "classification-medium-opencv-server-fake-1u"
    assert measures["throughput"] == {"value": summary.throughput_per_s}
    assert measures["latency"]["value"] == pytest.approx(summary.latency_ms.mean * MS)
    p50 = summary.latency_ms.quantiles["p50"]
    ends = {"value": p50.value, "lower_value": p50.low, "upper_value": p50.high}
    assert measures["p50-ms"] == ends
    assert "p99-ms" not in measures  # too few requests
    assert measures["stage-decode-ms"] == {"value": summary.stages["decode"].mean_ms}
    assert measures["not-inference-percent"]["value"] == pytest.approx(40.0)


def test_github_action_benchmark_gets_times_where_smaller_is_better(sound: Path) -> None:
    told = json.loads(exported(sound, "--to", "github-action-benchmark"))
    jsonschema.validate(told, CUSTOM)
    assert {one["unit"] for one in told} == {"ms"}
    by_name = {one["name"].partition(" / ")[2]: one for one in told}
    assert by_name["Mean latency"]["value"] == pytest.approx(100.0)
    assert by_name["Latency, p50"]["range"] == "100 to 100"
    assert by_name["Mean time of inference"]["value"] == pytest.approx(60.0)
    rate = number(reading.summary_of(sound).throughput_per_s)
    assert f"Throughput: {rate} images/s" in by_name["Mean latency"]["extra"]
    assert "sound" in by_name["Mean latency"]["extra"]
    assert "Throughput" not in by_name


def test_a_study_is_a_benchmark_a_cell(tmp_path: Path) -> None:
    study = Study(
        title="t",
        question="q",
        axes={"users": [1, 2]},
        settings={"transport": "fake"},
        measures=["mean", "p50"],
    )
    kept = Kept.begun(tmp_path, Asked(name="mine", study=study, seed=1, lacking={}))
    for turn, cell in enumerate(kept.cells * 2):
        write_steady_run(kept.folder / f"r{turn}", {"inference": 10.0 * (turn + 1)})
        kept.add(Done(cell=cell.name, round=turn // 2, run=f"r{turn}"))
    told = json.loads(exported(kept.folder, "--to", "bencher"))
    jsonschema.validate(told, BMF)
    assert [*told] == ["mine: users=1", "mine: users=2"]
    mean = told["mine: users=1"]["latency"]
    assert {end: round(ns / MS) for end, ns in mean.items()} == {
        "value": 20,
        "lower_value": 10,
        "upper_value": 30,
    }
    rows = pd.read_csv(io.StringIO(exported(kept.folder, "--to", "csv")))
    assert sorted(rows["run"].unique()) == ["r0", "r1", "r2", "r3"]


def test_what_cannot_be_trusted_is_said_and_fails_the_job(tmp_path: Path) -> None:
    folder = write_steady_run(tmp_path / "run", STAGES, failed=60)
    done = invoke(folder, "--to", "bencher")
    assert done.return_value == 4
    assert "INVALID: classification" in done.stderr
    jsonschema.validate(json.loads(done.stdout), BMF)


def test_locusts_files_have_the_heads_of_the_installed_locust(tmp_path: Path) -> None:
    code = """
import json, locust.stats as stats
made = stats.StatsCSVFileWriter(None, stats.PERCENTILES_TO_REPORT, "heads")
heads = made.requests_csv_columns, made.stats_history_csv_columns, made.failures_columns
print(json.dumps(heads))
"""  # by itself: Locust patches the process that imports it
    done = run((PYTHON, "-c", code), folder=tmp_path)
    heads = [list(one) for one in (locust_csv.STATS, locust_csv.HISTORY, locust_csv.FAILURES)]
    assert json.loads(done.stdout) == heads, done.stderr


def test_locusts_files_have_the_requests_that_were_measured(tmp_path: Path, steady: Path) -> None:
    exported(steady, "--to", "locust-csv", "--output", tmp_path / "out")
    stats, history, failures = (
        pd.read_csv(tmp_path / f"out_{name}.csv", keep_default_na=False)
        for name in ("stats", "stats_history", "failures")
    )
    one, total = stats.to_dict("records")
    assert (one["Type"], one["Name"]) == ("fake", "opencv@server")
    assert (total["Type"], total["Name"]) == ("", "Aggregated")
    assert (total["Request Count"], total["Failure Count"]) == (120, 3)
    assert total["Requests/s"] == pytest.approx(10.0)
    assert [total[f"{name} Response Time"] for name in ("Median", "Average", "Min", "Max")] == [
        pytest.approx(100.0)
    ] * 4
    assert (total["50%"], total["99%"]) == (pytest.approx(100.0), "N/A")
    assert history["Timestamp"].tolist() == [UNIX_S + 1 + second for second in range(len(history))]
    assert history["Total Request Count"].iloc[-1] == 120
    assert history["Requests/s"].sum() == 120
    (failure,) = failures.to_dict("records")
    assert (failure["Error"], failure["Occurrences"]) == ("no", 3)
    assert failure["First Seen"] == "2026-09-21T14:13:20Z"


class Collector:
    """What is posted to it."""

    def __init__(self) -> None:
        self.bodies = bodies = list[bytes]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def spans_of(message: ExportTraceServiceRequest) -> list[Any]:
    return [
        span
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_a_collector_gets_a_trace_a_request_with_the_ledgers_times(
    traced: Path, collector: Collector
) -> None:
    exported(traced, "--to", "otlp", "--endpoint", collector.url)
    messages = [*map(ExportTraceServiceRequest.FromString, collector.bodies)]
    found = [span for message in messages for span in spans_of(message)]
    roots = {span.trace_id: span for span in found if not span.parent_span_id}
    assert len(roots) == 60
    ids = {(span.trace_id, span.span_id) for span in found}
    assert len(ids) == len(found)
    inside = [span for span in found if span.parent_span_id]
    assert all((span.trace_id, span.parent_span_id) in ids for span in inside)
    counted = reading.read(traced).ledger
    for root, due_ns, times in zip(roots.values(), counted.due_ns, counted.time_ns, strict=True):
        told = attributes(root)
        assert root.start_time_unix_nano == due_ns + UNIX_S * S
        assert root.end_time_unix_nano - root.start_time_unix_nano == times.sum()
        ledger = {name: told.get(f"visiontax.ledger.{name}_ns", 0) for name in COLUMNS}
        assert [*ledger.values()] == times.tolist()
    names = Counter(span.name for span in inside)
    assert {names[name] for name in ("decode", "inference", scale.MODEL, scale.ENSEMBLE)} == {60}
    models = [attributes(span) for span in inside if span.events]
    assert {one["triton.model_name"] for one in models} == {
        *(scale.MODEL, scale.PREPROCESS, scale.ENSEMBLE)
    }


def test_lines_of_otlp_are_what_a_collector_gets(traced: Path, collector: Collector) -> None:
    exported(traced, "--to", "otlp", "--endpoint", collector.url)
    lines = exported(traced, "--to", "otlp").splitlines()
    assert len(lines) == len(collector.bodies) == 2
    for line, body in zip(lines, collector.bodies, strict=True):
        told = spans_of(ExportTraceServiceRequest.FromString(body))
        read = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert [one["spanId"] for one in read] == [one.span_id.hex() for one in told]
        assert [one["kind"] for one in read] == [one.kind for one in told]
        assert [one["startTimeUnixNano"] for one in read] == [
            str(one.start_time_unix_nano) for one in told
        ]


def test_ingest_reads_the_executions_of_what_was_exported(tmp_path: Path) -> None:
    folder = next((ROOT / "results" / "baseline").glob("*-http-1u"))
    file = tmp_path / "spans.jsonl"
    exported(folder, "--to", "otlp", "--output", file)
    traffic = otlp.read([file])
    assert not traffic.lost
    shift = read_manifest(folder).unix_from_ns()
    recorded, _ = trees(executions(trace.read(folder).itertuples(index=False, name=None)))
    expected = {one.request: told(one, shift) for one in recorded}
    assert {one.request: told(one, 0) for one in traffic.roots} == expected


def told(root: Execution, shift: int) -> list[tuple[str, dict[str, int]]]:
    """What each execution of a request was, and when."""
    return [
        (one.model, {name: ns + shift for name, ns in one.events.items()}) for one in root.all()
    ]


def test_a_failed_request_is_an_error_in_its_trace(steady: Path) -> None:
    text = exported(steady, "--to", "otlp")
    found = [
        span
        for line in text.splitlines()
        for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        if "parentSpanId" not in span
    ]
    assert len(found) == 120
    assert Counter(one["status"].get("message") for one in found) == {"no": 3, None: 117}


def test_the_same_request_has_the_same_ids_in_every_export(steady: Path) -> None:
    assert exported(steady, "--to", "otlp") == exported(steady, "--to", "otlp")


def test_a_collector_that_is_away_is_one_error(
    steady: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1/traces"
        with pytest.raises(VisiontaxError, match="did not take the spans") as raised:
            exported(steady, "--to", "otlp", "--endpoint", url)
    assert "4318/v1/traces" in raised.value.hint


@pytest.mark.parametrize("to", ["otlp", "locust-csv"])
def test_a_run_without_a_wall_clock_has_none_to_export(tmp_path: Path, to: str) -> None:
    folder = write_steady_run(tmp_path / "run", STAGES)
    with pytest.raises(ResultsError, match="wall clock"):
        exported(folder, "--to", to, "--output", tmp_path / "file")
    assert not [*tmp_path.glob("file*")]


FORMATS = ["csv", "parquet", "otlp", "bencher", "github-action-benchmark", "locust-csv"]


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_no_run_or_has_no_request_is_one_error(tmp_path: Path, to: str) -> None:
    empty = write_run(tmp_path / "empty", manifest(clock=CLOCK), [])
    for folder, said in ((tmp_path / "nowhere", "there is no folder"), (empty, "request")):
        with pytest.raises(ResultsError, match=said):
            exported(folder, "--to", to, "--output", tmp_path / "file")
    assert not [*tmp_path.glob("file*")]


@pytest.mark.parametrize("to", FORMATS)
def test_a_full_disk_is_one_error_and_leaves_what_was_there(
    tmp_path: Path, steady: Path, to: str
) -> None:
    file = tmp_path / ("file_stats.csv" if to == "locust-csv" else "file")
    file.write_text("before")
    file.with_name(f"{file.name}.partial").symlink_to("/dev/full")
    with pytest.raises(ResultsError, match="No space left"):
        exported(steady, "--to", to, "--output", tmp_path / "file")
    assert [*tmp_path.glob("file*")] == [file]
    assert file.read_text() == "before"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "csv", "--endpoint", "http://127.0.0.1:1"], "csv is a file"),
        (["--to", "otlp", "--endpoint", "http://127.0.0.1:1", "--output", "x"], "give one"),
        (["--to", "parquet"], "needs --output FILE"),
        (["--to", "locust-csv"], "needs --output PREFIX"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    steady: Path, arguments: list[str], said: str
) -> None:
    done = invoke(steady, *arguments)
    assert said in str(done.exception)


def test_several_runs_are_refused_where_the_format_has_no_place_for_them(
    tmp_path: Path, steady: Path
) -> None:
    other = write_steady_run(tmp_path / "other", STAGES, clock=CLOCK)
    refused = invoke(steady, other, "--to", "locust-csv", "--output", tmp_path / "file")
    assert "of one run" in str(refused.exception)
    with pytest.raises(ResultsError, match="would be one benchmark"):
        exported(steady, other, "--to", "bencher")
    with pytest.raises(ResultsError, match="given twice"):
        exported(steady, steady, "--to", "csv")
