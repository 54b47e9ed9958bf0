"""`bench attach`: a server that somebody else runs is explained as far as it lets itself be, and is
afterwards as it was.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attached import Speaker, mlserver, photos, served
from counted import COUNTED, DNN, PREPROCESS, WHOLE
from need import need_built
from processes import BENCH, FUZZ_S, TIMEOUT_S, bench, ended, refused, started, until
from runs import enough

from bench.ledger import models
from bench.ledger.attribution.table import COLUMNS
from bench.ledger.reading import read, summary_of
from bench.prepare.repository import models_of
from bench.record import trace
from bench.record.foreign.statistics import read_snapshots
from bench.record.manifest import read_manifest
from bench.runs.attached import setting
from bench.runs.run import execute
from pipelines import processes
from pipelines.engines.address import HEADERS
from pipelines.servers import control
from pipelines.servers import triton as embedded
from pipelines.servers.sizing import Sizes

pytestmark = pytest.mark.usefixtures("own_journals", "forgiving")

ENOUGH, FOR_S = 15, 1.5
"""Requests that count, of a run of `attach`, and the seconds in which they lie: some readings of
the counters.
"""


@pytest.fixture
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals of this test alone, for what runs in this process, counters read often, and traces
    waited for as long as it takes; a run there ends once it is ENOUGH.
    """
    monkeypatch.setattr("bench.runs.attached.levels.EVERY_S", 0.2)
    for patience in ("WRITTEN_S", "EXPORTED_S"):
        monkeypatch.setattr(f"bench.runs.attached.levels.{patience}", TIMEOUT_S)
    monkeypatch.setattr(setting, "JOURNALS", tmp_path / "journals")
    for module in ("attach", "levels"):
        monkeypatch.setattr(f"bench.runs.attached.{module}.JOURNALS", tmp_path / "journals")

    def short(*plan: Any, **how: Any) -> Path:
        return execute(*plan, **how | {"enough": enough(ENOUGH, for_s=FOR_S)})

    monkeypatch.setattr("bench.runs.attached.attach.execute", short)
    return tmp_path / "journals"


def attach(url: str, model: str, results: Path, *options: object, code: int = 0) -> Path:
    """Attach until ENOUGH requests count; the run's folder."""
    given = ("--images", "small", "--warmup", "200ms", "--duration", "3m", "--results", results)
    done = bench("attach", url, "--model", model, *given, *options)
    assert done.returncode == code, done.stdout + done.stderr
    (folder,) = re.findall(r"^results: (.*)$", done.stderr, re.MULTILINE)
    (Path(folder) / "said.txt").write_text(done.stderr + done.stdout)
    return Path(folder)


def state(server: embedded.Server) -> dict[str, Any]:
    """All of a Triton that `attach` might change, and the files beside its trace."""
    asked = ["trace/setting", *(f"models/{one}/trace/setting" for one in (WHOLE, PREPROCESS, DNN))]
    found = {path: json.loads(control.ask(server.url, f"/v2/{path}")) for path in asked}
    for path in ("repository/index", "systemsharedmemory/status", "logging"):
        body = b"{}" if path == "repository/index" else None
        found[path] = json.loads(control.ask(server.url, f"/v2/{path}", body=body))
    file = found["trace/setting"].get("trace_file")
    found["files"] = sorted(path.name for path in Path(file).parent.glob("trace*")) if file else []
    return found


def assert_agree(folder: Path) -> None:
    """By the trace each model spent what the counters say, to the microsecond.

    What was under way when the counters were read may be counted or not, so they are of some
    requests in a row.
    """
    first, *_, last = read_snapshots(folder)
    stages = {PREPROCESS: "preprocess", DNN: "inference"}
    window = (first.time_ns, last.time_ns)
    found = models.between([first, last], window_ns=window, stages=stages, whole=WHOLE)
    assert found is not None
    counted = {one.model: one for one in found[0].models}
    rows = trace.read(folder).sort_values("COMPUTE_END")
    for name in (PREPROCESS, DNN):
        own, count = rows[rows["model"] == name], counted[name].requests
        assert len(own) >= count > ENOUGH
        spent = np.array([own[end] - own[start] for start, end in COUNTED.values()]) / 1e6
        told = [getattr(counted[name], column) for column in COUNTED]
        means = [spent[:, at : at + count].mean(axis=1) for at in range(len(own) - count + 1)]
        assert any(one == pytest.approx(told, abs=0.001) for one in means), (means, told)


def assert_seen_into(folder: Path, level: str) -> None:
    reading = read(folder)
    summary = reading.summary()
    assert summary.level == level
    assert {issue.code for issue in summary.issues} <= {
        *("FEW", "SHORT", "GENERATOR_LATE", "OTHER"),
        *("FOREIGN", "STEAL", "DRIFT", "CHANGE", "WARM_UP"),
    }
    assert (reading.ledger.time_ns.sum(axis=1) == reading.ledger.latency_ns).all()
    assert "server" not in summary.stages
    assert {"send", "queue", "input", "inference", "output", "receive"} < summary.stages.keys()
    assert summary.counters is not None


def test_a_trace_file_agrees_with_the_counters(triton: embedded.Server, tmp_path: Path) -> None:
    before = state(triton)
    folder = attach(triton.url, WHOLE, tmp_path)
    assert_seen_into(folder, "trace")
    assert_agree(folder)
    assert "level (a)" in (folder / "said.txt").read_text()
    assert state(triton) == before
    for format in ("text", "json", "md", "html"):
        done = bench("report", folder, "--format", format)
        assert (done.returncode, "level" in done.stdout) == (0, True)


def test_exported_spans_agree_with_the_counters(
    triton_parts: None,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    port = processes.free_port()
    to = f"opentelemetry,url=http://127.0.0.1:{port}/v1/traces"
    options = ("mode=opentelemetry", "level=TIMESTAMPS", "rate=0", to)
    delay = "opentelemetry,bsp_schedule_delay=300"
    given = [f"--trace-config={one}" for one in (*options, delay)]
    with served(tmp_path / "triton", *given, models=[WHOLE]) as server:
        before = state(server)
        folder = attach(server.url, WHOLE, tmp_path, "--otlp-port", port)
        assert_seen_into(folder, "otlp")
        assert_agree(folder)
        assert state(server) == before


@pytest.fixture(scope="module")
def bare(
    triton_parts: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[embedded.Server]:
    """A Triton that nobody gave an option about traces; its model takes the file of an image."""
    folder = tmp_path_factory.mktemp("bare")
    how = {"models": ["photo"], "repository": photos(folder / "models"), "sizes": Sizes(1, 1)}
    with served(folder, **how) as server:
        yield server


def test_a_server_without_any_option_of_ours_has_a_ledger(
    bare: embedded.Server, tmp_path: Path
) -> None:
    folder = attach(bare.url, "photo", tmp_path, "--users", 8)
    reading = read(folder)
    summary, server_ns = reading.summary(), reading.ledger.time_of("server")
    assert (summary.level, summary.preprocess) == ("statistics", "unknown")
    assert summary.non_inference_share is None
    assert server_ns.min() >= 10e6
    assert np.median(server_ns / reading.ledger.latency_ns) > 0.75
    assert summary.counters is not None
    (only,) = summary.counters.models
    assert (only.model, only.stage) == ("photo", "inference")
    assert only.computing_ms > 10
    said = (folder / "said.txt").read_text()
    assert "(a) is not to be had: it was started without --trace-config" in said
    assert "By the server's own counters" in said
    assert re.search(r"by the server's counters \S+ ms is inference", said)
    # Eight users, one instance; other programs may keep the cores busy meanwhile.
    assert re.search("IDLE_CORES|QUEUE", said)
    assert re.search(
        rf"next: bench attach {bare.url} --model photo --images small --users \d", said
    )


def test_what_others_ask_meanwhile_is_said(bare: embedded.Server, tmp_path: Path) -> None:
    going = threading.Event()

    def ask() -> None:
        body = {"name": "IMAGE", "shape": [2], "datatype": "UINT8", "data": [1, 2]}
        asked = urllib.request.Request(
            f"http://{bare.url}/v2/models/photo/infer", json.dumps({"inputs": [body]}).encode()
        )
        while not going.is_set():
            with contextlib.suppress(OSError):
                urllib.request.urlopen(asked).read()
            time.sleep(0.005)

    other = threading.Thread(target=ask)
    other.start()
    try:
        folder = attach(bare.url, "photo", tmp_path)
    finally:
        going.set()
        other.join()
    counters = summary_of(folder).counters
    assert counters is not None
    assert counters.models[0].errors > 2  # of the other: it is no JPEG


def test_models_that_a_model_asks_are_unfolded(triton: embedded.Server, tmp_path: Path) -> None:
    control.load(triton.url, models_of(["faces"]))
    options = ("--images", "faces-4", "--stage", "faces_opencv=postprocess")
    folder = attach(triton.url, "faces_opencv", tmp_path, *options)
    manifest = read_manifest(folder)
    assert {"faces_opencv", "centerface", "mobilefacenet"} <= manifest.stages.keys()
    assert manifest.stages["faces_opencv"] == "postprocess"
    reading = read(folder)
    assert (reading.ledger.time_ns.sum(axis=1) == reading.ledger.latency_ns).all()
    assert (reading.ledger.time_ns[:, COLUMNS.index("inference")] > 0).all()


def test_the_models_are_listed(triton: embedded.Server) -> None:
    done = bench("attach", triton.url)
    assert done.returncode == 0
    assert re.search(rf"{WHOLE} .*jpeg \(uint8 \?x\?\)", done.stdout)
    assert f"next: bench attach {triton.url} --model " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_ctrl_c_keeps_what_was_measured(triton: embedded.Server, tmp_path: Path) -> None:
    before = state(triton)
    options = ("--model", WHOLE, "--images", "small", "--duration", "60s", "--results", tmp_path)
    with started(BENCH, "attach", triton.url, *options, log=tmp_path / "log") as process:
        until(lambda: any(map(enough(10), tmp_path.glob("*"))), "requests that count")
        process.send_signal(signal.SIGINT)
        assert ended(process) == 130, (tmp_path / "log").read_text()
    assert state(triton) == before
    (folder,) = (path.parent for path in tmp_path.glob("*/manifest.json"))
    assert read(folder).ledger.joined.any()


@pytest.mark.fuzz
def test_what_a_killed_call_left_the_next_one_puts_right(
    triton: embedded.Server, tmp_path: Path
) -> None:
    """Twice, or as often as the time allows, twenty times at most."""
    before, changed = state(triton), 0
    chance = random.Random(seed := random.randrange(1 << 32))
    deadline = time.monotonic() + FUZZ_S - 60
    options = ("--model", WHOLE, "--images", "small", "--duration", "20s", "--results", tmp_path)
    for number in range(20):
        with started(BENCH, "attach", triton.url, *options, log=tmp_path / "log") as process:
            if number == 0:  # one for sure while the server is changed
                until(lambda: state(triton) != before, "the setting is changed")
            else:
                time.sleep(chance.uniform(0.3, 5))
            process.kill()
        changed += state(triton)["trace/setting"] != before["trace/setting"]
        done = started(BENCH, "attach", triton.url, log=tmp_path / "next")
        with done as process:
            assert ended(process) == 0, (tmp_path / "next").read_text()
        until(lambda: state(triton) == before, f"it is as it was, seed {seed}")
        if number >= 1 and time.monotonic() > deadline:
            break
    assert changed == 0  # the server's own setting is never touched


def test_a_server_that_is_traced_already_is_left_alone(
    triton: embedded.Server, tmp_path: Path
) -> None:
    control.turn_on(triton.url)
    try:
        before = state(triton)
        folder = attach(triton.url, WHOLE, tmp_path)
        assert "it is being traced for somebody else" in (folder / "said.txt").read_text()
        after = state(triton)
        assert {**after, "files": []} == {**before, "files": []}
    finally:
        control.turn_off(triton.url)
        trace.next_number(Path(control.setting(triton.url)["trace_file"]))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLServer."""
    model = Path("triton_repo/mobilenetv2/1/model.onnx")
    need_built((Path(__file__).parents[2] / model).exists(), f"{model} is not built")
    with mlserver(tmp_path_factory.mktemp("mlserver") / "models") as url:
        yield url


def test_the_file_of_an_image_travels_as_bytes(other: str, tmp_path: Path) -> None:
    options = ("--model", "file", "--images", "small", "--results", tmp_path)
    refused("attach", other, *options, code=1, words="cannot travel as JSON")
    summary = summary_of(attach(other, "file", tmp_path, "--transport", "grpc"))
    assert (summary.errors, summary.preprocess) == (0, "unknown")


def test_another_server_has_a_ledger_of_the_clients_side(other: str, tmp_path: Path) -> None:
    assert "net" in bench("attach", other).stdout
    as_text = attach(other, "net", tmp_path, "--fit", "centre")
    packed = attach(other, "net", tmp_path, "--fit", "centre", "--transport", "grpc")
    for folder, transport in ((as_text, "json"), (packed, "grpc")):
        summary = summary_of(folder)
        assert (summary.level, summary.transport, summary.errors) == ("client", transport, 0)
        assert "server" in summary.stages
        assert {"decode", "resize", "normalize"} < summary.stages.keys()
    # The medians: whatever holds up the load holds up few of its requests in just this.
    texts, tensors = (np.median(read(one).ledger.time_of("encode")) for one in (as_text, packed))
    assert texts > 20 * tensors
    assert "TRANSPORT" in (as_text / "said.txt").read_text()


READY = {"/v2/health/ready": (200, {})}
NAMED = READY | {"/v2": (200, {"name": "triton", "version": "2.51.0", "extensions": []})}
MODEL = {
    "name": "m",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3, 8, 8]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4]}],
}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, ["does not speak the Open Inference Protocol", "MLServer"]),
        ({"/v2/health/ready": (503, {})}, ["is not ready", "HTTP 503"]),
        (READY, ["does not speak the Open Inference Protocol: there is nothing"]),
        (READY | {"/v2": (200, {"name": "triton", "version": "2.20.0"})}, ["is too old", "update"]),
        (
            READY | {"/v2": (403, {"error": "This API is restricted, expecting header 'key'"})},
            ["restricted", "give what it asks for with --header"],
        ),
        (NAMED, ["has no model m that is ready: there is nothing", "load it first"]),
        (
            NAMED | {"/v2/models/m": (200, MODEL)},
            ["does not answer a first request to m over http: there is nothing"],
        ),
        (
            NAMED | {"/v2/models/m": (200, MODEL | {"inputs": [{"name": "x"}]})},
            ["does not say what m wants"],
        ),
        (
            NAMED
            | {
                "/v2/models/m": (
                    200,
                    MODEL | {"inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 12]}]},
                )
            },
            ["no input can be made of an image: x (int64 ?x12)"],
        ),
    ],
)
def test_a_server_that_cannot_be_measured_is_one_error(
    answers: dict[str, tuple[int, Any]], words: list[str], tmp_path: Path
) -> None:
    speaker = Speaker(answers)
    try:
        options = ("--model", "m", "--images", "small", "--results", tmp_path / "r")
        refused("attach", speaker.url, *options, code=1, words=words)
    finally:
        speaker.shutdown()
        speaker.server_close()
    assert not (tmp_path / "r").exists()


def test_a_host_that_is_not_this_one_wants_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipelines.engines.address.Address.is_local", False)
    speaker = Speaker(NAMED | {"/v2/models/m": (200, MODEL)})
    options = ("--model", "m", "--images", "small", "--results", tmp_path)
    refused("attach", speaker.url, *options, code=1, words="--i-may-load-this-host")
    words = "does not answer a first request"
    refused("attach", speaker.url, *options, "--i-may-load-this-host", code=1, words=words)
    speaker.shutdown()
    speaker.server_close()


def test_a_port_on_which_no_spans_come_says_how_they_would(
    triton: embedded.Server, tmp_path: Path
) -> None:
    words = ["it is not in OpenTelemetry mode", "--trace-config=mode=opentelemetry"]
    given = ("--model", WHOLE, "--images", "small", "--results", tmp_path)
    port = processes.free_port()
    refused("attach", triton.url, *given, "--otlp-port", port, code=1, words=words)
    refused("attach", triton.url, *given, "--otlp-port", triton.port, code=1, words="has it")


def test_a_header_goes_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HEADERS, "")
    refused("attach", "127.0.0.1:9", "--header", "nonsense", code=1, words="is no header")
    monkeypatch.setenv(HEADERS, "")
    speaker = Speaker(READY)
    refused("attach", speaker.url, "--header", "x-key: 1", code=1, words="does not speak")
    assert {seen.get("x-key") for seen in speaker.seen} == {"1"}
    speaker.shutdown()
    speaker.server_close()
