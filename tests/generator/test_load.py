"""The load against the real server: what a run leaves, in each way to start one and to lose one."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from injection import Refusing
from pictures import encode, photograph
from PIL import Image
from processes import (
    BENCH,
    LOCUST,
    PROGRAMS,
    ROOT,
    TIMEOUT_S,
    alive,
    bench,
    ended,
    family,
    loading,
    refused,
    regions_of,
    run,
    started,
    until,
    wait_gone,
)
from runs import measured

from bench.prepare.pins import DOWNLOADS, read_members
from bench.record import folders, records, scenario, trace
from pipelines import processes
from pipelines.preprocess.choose import WAYS
from pipelines.servers import triton
from pipelines.topologies.choose import Setup, pipeline

KEYS = {
    *("run", "valid", "issues", "requests", "errors", "throughput_per_s", "latency_ms", "stages"),
    *("tail_stages", "other_share", "non_inference_share"),
}
COLD = ("--warmup", "0s")
RUN = (*BENCH, "run", "classification")
SMALL = ("--images", "small", "--warmup", "0.5s")
ESPRESSO = 967


def report(folder: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON of `bench report`."""
    done = bench("report", folder, "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(summary: dict[str, Any]) -> set[str]:
    return {issue["code"] for issue in summary["issues"]}


def only_run(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*/requests-*.jsonl"))


def two_users(url: str, seconds: int) -> tuple[object, ...]:
    return ("--headless", "-u", 2, "-r", 2, "-t", f"{seconds}s", "--host", url)


@contextlib.contextmanager
def loaded(
    command: tuple[str, ...], *load: object, into: Path, enough: int = 200
) -> Iterator[subprocess.Popen[bytes]]:
    """A load of small images that has made so many requests; its log is beside its results."""
    log = into.with_name("log")
    with started(command, *SMALL, *load, "--results", into, log=log) as process:
        until(lambda: lines(into) >= enough, "requests")
        yield process


def made_of_enough(
    make: Callable[[tuple[object, ...], Path], None], url: str, folder: Path
) -> Path:
    """The run that `make` makes with such a load; of more seconds where the machine is busy."""
    for seconds in (3, 12, 60):
        into = folder / f"{seconds} s"
        make((*two_users(url, seconds), *SMALL, "--results", into), into)
        if len(measured(only_run(into))) > 60:
            break
    return only_run(into)


def assert_whole(folder: Path, *, processes: int) -> None:
    """The run's files are all there, every request is joined, and its report is valid."""
    names = {path.name for path in folder.iterdir()}
    assert {"manifest.json", "trace.csv", "samples.jsonl"} <= names
    assert len(list(folder.glob("requests-*.jsonl"))) == processes
    assert not list(folder.glob("trace.json*"))
    assert {sample.role for sample in records.read_samples(folder)} == {"generator", "server"}
    requests = list(records.read_requests(folder))
    assert len({request.id for request in requests}) == len(requests)
    traced = trace.read(folder)
    ensembles = Counter(traced[traced["parent"] == 0]["request"])
    manifest = records.read_manifest(folder)
    assert manifest.window_end_ns
    inside = [each.id for each in measured(folder) if each.due_ns < manifest.window_end_ns]
    assert [id for id in inside if ensembles[id] != 1] == []
    code, summary = report(folder)
    assert summary["issues"] == [] or codes(summary) <= {"FEW"}, summary["issues"]
    assert (code, summary["valid"], summary["schema"]) == (0, True, 2)
    assert set(summary) >= KEYS
    assert set(summary["latency_ms"]) == {"mean", "p50", "p90", "p95", "p99", "max"}
    for stage in summary["stages"].values():
        assert {"mean_ms", "p50_ms", "p99_ms", "share", "work_ms"} <= set(stage)
    assert sum(stage["share"] for stage in summary["stages"].values()) == pytest.approx(1)
    assert summary["requests"] > 20
    assert summary["errors"] == 0


@pytest.mark.parametrize("more", [(), ("--processes", 2)], ids=["one process", "two processes"])
def test_locust_leaves_a_whole_run(triton: triton.Server, tmp_path: Path, more: Any) -> None:
    def make(load: tuple[object, ...], folder: Path) -> None:
        done = run(LOCUST, *load, *more)
        assert done.returncode == 0, done.stderr
        assert f"results: {only_run(folder)}" in done.stderr
        assert "Traceback" not in done.stderr

    assert_whole(made_of_enough(make, triton.url, tmp_path), processes=len(more) or 1)


def test_a_master_and_its_workers_leave_one_whole_run(
    triton: triton.Server, tmp_path: Path
) -> None:
    port = processes.free_port()
    found = ("--master-host", "127.0.0.1", "--master-port", port)
    bound = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    log = tmp_path / "master.log"

    def make(load: tuple[object, ...], _: Path) -> None:
        with (
            started(LOCUST, "--worker", *found, log=tmp_path / "one.log") as one,
            started(LOCUST, "--worker", *found, log=tmp_path / "two.log") as two,
            started(LOCUST, "--master", "--expect-workers", 2, *bound, *load, log=log) as master,
        ):
            assert ended(master) == 0, log.read_text()
            assert (ended(one), ended(two)) == (0, 0)

    assert_whole(made_of_enough(make, triton.url, tmp_path), processes=2)


def test_locusts_own_page_starts_and_stops_runs(triton: triton.Server, tmp_path: Path) -> None:
    port = processes.free_port()
    folder = tmp_path / "results"
    page = f"http://127.0.0.1:{port}"
    log = tmp_path / "log"

    def get(path: str, **form: object) -> bytes | None:
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(page + path, data, timeout=TIMEOUT_S) as reply:
                return bytes(reply.read())
        except OSError:
            return None

    load = ("--web-host", "127.0.0.1", "--web-port", port, "--host", triton.url, *COLD)
    with loaded(LOCUST, *load, into=folder, enough=0) as process:
        assert until(lambda: get("/"), "the page")
        for number in (1, 2):
            form = {"user_count": 2, "spawn_rate": 2, "host": triton.url}
            assert b'"success":true' in (get("/swarm", **form) or b"").replace(b" ", b"")
            until(lambda n=number: len(list(folder.glob("*"))) == n, "a folder")
            before = lines(folder)
            until(lambda n=before: lines(folder) > n + 400, "requests")
            get("/stop", now="yes")
            until(lambda n=number: log.read_text().count("results: ") == n, "the end of the run")
        members = family(process)
        process.send_signal(signal.SIGINT)
        ended(process)
        wait_gone(members)
    for path in folder.iterdir():
        assert_whole(path, processes=1)


@pytest.fixture(scope="module")
def coffee_jpeg() -> bytes:
    coffee = read_members(["coffee"], downloads=ROOT / DOWNLOADS)["coffee"]
    return encode(Image.open(io.BytesIO(coffee)).convert("RGB"), quality=90)


@pytest.mark.parametrize("place", ["server", "client"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transport", ["http", "grpc", "shm"])
def test_every_path_to_the_network_sees_the_same(
    triton: triton.Server, coffee_jpeg: bytes, transport: str, way: str, place: str
) -> None:
    setup = Setup(preprocess=way, place=place, transport=transport, server=triton.url)
    with contextlib.closing(pipeline(setup)) as ask:
        for number in range(2):
            outcome = ask(coffee_jpeg, request_id=f"t{number}")
            best, odds = outcome.answer[0]
            assert best == ESPRESSO
            assert odds > 0.5
            (call,) = outcome.calls
            assert call.sent_ns < call.received_ns
    assert not list(Path("/dev/shm").glob(f"visiontax-{processes.owner()}-*put"))


@pytest.fixture
def own_server(triton_parts: None, tmp_path: Path) -> Iterator[triton.Server]:  # noqa: ARG001
    """A server that a test may kill."""
    sizes = triton.Sizes(preprocess=1, inference=1)
    with triton.start(tmp_path / "server", sizes=sizes) as running:
        running.wait_ready()
        yield running


def test_killing_the_generator_loses_a_second_at_most(
    triton: triton.Server, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    load = (*two_users(triton.url, 60), "--transport", "shm")
    with loaded(LOCUST, *load, into=folder) as process:
        time.sleep(1.5)  # so that the trace, fetched once a second, has some of the window
        members = family(process)
        process.kill()
        killed_ns = time.monotonic_ns()
        process.wait()
        wait_gone(members)
    assert regions_of(process) == []
    (requests,) = only_run(folder).glob("requests-*.jsonl")
    ends = sorted(request.end_ns for request in records.read_requests(only_run(folder)))
    busy_ns = max(after - before for before, after in pairwise(ends))  # with what is not ours
    assert killed_ns - ends[-1] < 1.5e9 + busy_ns
    with requests.open("ab") as file:
        file.write(b'["cut-off","classif')  # as a disk may keep it
    code, summary = report(only_run(folder))
    assert "UNFINISHED" in codes(summary)
    assert summary["requests"] > 20
    assert code == 0, summary["issues"]
    text = bench("report", only_run(folder))
    assert "the run was cut off" in text.stdout


def test_killing_generator_and_monitor_leaves_a_run_that_can_be_read(
    triton: triton.Server, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with loaded(LOCUST, *two_users(triton.url, 60), into=folder, enough=0) as process:
        until(lambda: len(list(folder.glob("*/trace.json.*"))) >= 3, "trace")
        for member in family(process):
            member.kill()
    (part, *_) = only_run(folder).glob("trace.json.*")
    part.write_bytes(part.read_bytes()[:-500])
    _, summary = report(only_run(folder))
    assert "UNFINISHED" in codes(summary)
    assert summary["stages"]["inference"]["share"] > 0


def test_a_server_that_dies_is_on_the_record(own_server: triton.Server, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with loaded(LOCUST, *two_users(own_server.url, 6), into=folder, enough=20) as process:
        own_server.process.kill()
        assert ended(process) == 1
    numbers: dict[str, list[int]] = {}
    for request in records.read_requests(only_run(folder)):
        user, _, number = request.id.rpartition("-")
        numbers.setdefault(user, []).append(int(number))
    assert len(numbers) == 2
    assert all(sorted(sent) == list(range(len(sent))) for sent in numbers.values())
    code, summary = report(only_run(folder))
    assert code == 4
    assert summary["valid"] is False
    assert summary["errors"] > 0
    assert "GENERATOR_LATE" not in codes(summary)
    (errors,) = (issue for issue in summary["issues"] if issue["code"] == "ERRORS")
    assert f"no answer from Triton at {own_server.url}" in errors["message"]
    assert "INVALID" in bench("report", only_run(folder)).stdout


def test_no_further_run_is_made_when_the_server_has_died(
    own_server: triton.Server, tmp_path: Path
) -> None:
    folder, log = tmp_path / "results", tmp_path / "log"
    load = ("--server", own_server.url, "--preprocess", "opencv,pillow", "--duration", "3s")
    with loaded(RUN, *load, into=folder, enough=20) as process:
        own_server.process.kill()
        assert ended(process) == 1
    said = log.read_text()
    assert "INVALID" in said  # what was measured is reported all the same
    assert f"results: {only_run(folder)}" in said
    assert f"error: Triton at {own_server.url} " in said
    assert "\nhint: " in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_second_run_on_one_server_is_told_of_the_first(
    own_server: triton.Server, tmp_path: Path, program: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with loaded(LOCUST, *two_users(own_server.url, 60), into=first, enough=20) as process:
        done = loading(program, "--server", own_server.url, "--results", second, *SMALL)
        assert done.returncode == 1
        told = f"is being traced for another run: {only_run(first)}\nhint: wait until"
        assert told in done.stderr
        assert list(second.iterdir()) == []
        for member in family(process):  # its lock goes with it
            member.kill()
    options = ("--server", own_server.url, "--results", second, "--duration", "1s")
    assert run(RUN, *SMALL, *options).returncode == 0


def test_a_model_that_dies_in_the_server_ends_the_run(
    own_server: triton.Server, tmp_path: Path
) -> None:
    folder, log = tmp_path / "results", tmp_path / "log"
    with loaded(LOCUST, *two_users(own_server.url, 3600), into=folder) as process:
        (preprocessing,) = (
            member
            for member in family(own_server.process)
            if "preprocess_classification_opencv_0_0" in member.cmdline()
        )
        until(lambda: measured(only_run(folder)), "the end of the warm-up")
        preprocessing.send_signal(signal.SIGSEGV)
        assert ended(process) == 1
    assert "a process of Triton has died: " in log.read_text()
    code, summary = report(only_run(folder))
    assert (code, summary["valid"]) == (4, False)
    assert "SERVER_DIED" in codes(summary)


def test_a_load_that_a_signal_ends_names_the_image_in_flight(
    triton: triton.Server, coffee_jpeg: bytes, tmp_path: Path
) -> None:
    """As a decoder does that a hostile image brings down."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "coffee.jpg").write_bytes(coffee_jpeg)
    folder, log = tmp_path / "results", tmp_path / "log"
    given = ("--place", "client", "--duration", "60s", "--users", 2, "--server", triton.url)
    images = ("--images", tmp_path / "images")
    with loaded(RUN, *given, *images, into=folder, enough=20) as process:
        (load,) = (each for each in family(process) if "locust" in each.cmdline())
        load.send_signal(signal.SIGSEGV)
        assert ended(process) == 1
    said = log.read_text()
    name = tmp_path / "images" / "coffee.jpg"
    assert f"error: the load was ended by SIGSEGV with {name} in flight\nhint: " in said
    assert f"results: {only_run(folder)}" in said
    assert "UNFINISHED" in codes(report(only_run(folder))[1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_triton_at_the_address(tmp_path: Path, program: str) -> None:
    address = f"127.0.0.1:{processes.free_port()}"
    started_s = time.monotonic()
    done = loading(program, "--server", address, "--results", tmp_path, *SMALL)
    assert time.monotonic() - started_s < 30
    assert done.returncode == 1
    assert f"error: Triton is not ready at {address}\nhint: is 'bench serve'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_grpc_at_its_port(triton: triton.Server, tmp_path: Path, program: str) -> None:
    options = ("--server", triton.url, "--transport", "grpc", "--grpc-port", triton.port)
    done = loading(program, *options, "--results", tmp_path, *SMALL)
    assert done.returncode == 1
    assert "error: Triton does not answer a first request over grpc: no answer" in done.stderr
    assert "--grpc-port" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_refuses_shared_memory_is_said_at_once(
    triton: triton.Server, tmp_path: Path
) -> None:
    """As Triton refuses from 26.04 on, unless it is told otherwise."""
    words = "Client shared memory is disabled. Start the server with '--allow-client-shm=true'"
    with Refusing(triton.port, what="systemsharedmemory", words=words) as server:
        options = ("--server", server.url, "--transport", "shm", "--results", tmp_path)
        done = run(RUN, *SMALL, *options)
        server.shutdown()
    assert done.returncode == 1
    assert f"error: Triton does not answer a first request over shm: {words}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_or_value_lists_the_known_ones() -> None:
    refused("run", "classification", "--user", 2, code=2, words="--users")
    refused("run", "classification", "--preprocess", "opencv,photoshop", code=2, words=WAYS)
    refused("ran", code=2, words="run")
    with_locust = run(LOCUST, "--preprocess", "photoshop")
    assert with_locust.returncode == 2
    assert all(way in with_locust.stderr for way in WAYS)
    with_locust = run(LOCUST, "--headless", "--transport", "fake", "--seed", "x3")
    assert "error: --seed: 'x3' is not a valid integer" in with_locust.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_results_folder_that_is_none_is_said_at_once(tmp_path: Path, program: str) -> None:
    (tmp_path / "file").write_text("in the way")
    where = ("--results", tmp_path / "file", *SMALL, "--transport", "fake")
    done = loading(program, *where)
    assert done.returncode == 1
    assert f"error: cannot make {tmp_path / 'file'}/" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "requests" not in done.stdout


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where we may mount one."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", "size=1m", "visiontax", str(mount))
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a tiny disk: sudo make test")
    yield mount
    subprocess.run(("umount", str(mount)), check=True)


def test_a_full_disk_is_said_at_once(tiny_disk: Path) -> None:
    words = (f"MB are free for results in {tiny_disk}", "hint: free some space")
    given = (*SMALL, "--transport", "fake", "--results", tiny_disk)
    refused("run", "classification", *given, code=1, words=words)
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_seems_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((real.f_bsize, real.f_frsize, *real[2:4], 10, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(records.ResultsError, match="MB are free") as raised:
        folders.make_folder(tmp_path, scenario.Settings())
    assert raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_in_mid_run_ends_it(tmp_path: Path) -> None:
    """Here no file may be larger: writing fails in the same way, in the middle of a line."""
    given = (*SMALL, "--transport", "fake", "--users", 4, "--duration", "10m")
    done = run(("prlimit", "--fsize=600000", *RUN), *given, "--results", tmp_path)
    folder = only_run(tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-3:] == [
        f"results: {folder}",
        f"error: the records cannot be written: is the disk of {folder} full?",
        "hint: free some space and run again; what was recorded until then is kept",
    ]
    (requests,) = folder.glob("requests-*.jsonl")
    assert requests.stat().st_size == 600_000
    _, summary = report(folder)
    assert summary["requests"] > 100


@pytest.fixture(scope="module")
def fake_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run against the fake engine, with a mix of images."""
    folder, images = tmp_path_factory.mktemp("fake"), tmp_path_factory.mktemp("images")
    (images / "photo.jpg").write_bytes(encode(photograph()))
    (images / "drawn.png").write_bytes(encode(photograph().resize((640, 480)), "PNG"))
    load = (*SMALL, "--transport", "fake", "--results", folder, "--duration", "1s")
    load = (*load, "--images", str(images))
    done = run(RUN, *load, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"results: {only_run(folder)}"
    assert set(json.loads(done.stdout)) >= KEYS
    return only_run(folder)


def test_the_report_tells_sizes_and_formats_apart(fake_run: Path) -> None:
    images = [(image.name, image.format, image.width) for image in records.read_images(fake_run)]
    assert images == [("drawn.png", "PNG", 640), ("photo.jpg", "JPEG", 320)]
    found = json.loads(bench("report", fake_run, "--format", "json").stdout)
    told = {group["name"]: group["requests"] for group in found["mix"]}
    assert list(told) == ["below 0.1 MP", "0.1 to 1 MP", "JPEG", "PNG"]
    assert told["JPEG"] + told["PNG"] == found["requests"]
    assert told["JPEG"] == told["below 0.1 MP"] > 0 < told["PNG"]


NESTED = b'{"schema":1,"machine":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"[1, 2]", "cannot read"),
        (b'{"schema": 1', "cannot read"),
        (b'{"schema": 99}', "has results schema 99; this version reads up to 2"),
        (b'{"schema": "1"}', "has results schema '1'"),
        (b'{"schema": true}', "has results schema True"),
        (b'{"schema": 0}', "has results schema 0"),
        (b'{"run": "x"}', "has results schema None"),
        (b'{"schema": 1}', "is damaged"),
        (NESTED, "cannot read|is damaged"),
    ],
    ids=lambda value: str(value[:16]),
)
def test_a_damaged_or_newer_manifest_is_refused(
    tmp_path: Path, manifest: bytes, words: str
) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(records.ResultsError, match=words) as raised:
        records.read_manifest(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"window_start_ns": 10**30},
        {"window_start_ns": -1},
        {"window_end_ns": -(10**30)},
        {"run": 5},
        {"stages": {"a": "no such stage"}},
        {"settings": {"users": "many"}},
        {"machine": {"cpu": ["a list"]}},
        {"machine": {}},
        {"image_sizes": {}},
        {"run": "../../etc/passwd\u0000\u001b[31m"},
    ],
    ids=str,
)
def test_a_hostile_manifest_is_an_error_or_a_report(
    fake_run: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    shutil.copytree(fake_run, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    done = bench("report", tmp_path)
    assert done.returncode in (0, 1, 4)
    if done.returncode == 1:
        assert done.stderr.startswith("error: ")
        assert str(tmp_path) in done.stderr
    assert "\x1b" not in done.stdout


def test_reports_that_cannot_be_made_are_one_line(fake_run: Path, tmp_path: Path) -> None:
    told = refused("report", tmp_path, code=1, words="")
    assert told.startswith(f"error: {tmp_path} is not a run")
    shutil.copytree(fake_run, tmp_path, dirs_exist_ok=True)
    (requests,) = tmp_path.glob("requests-*.jsonl")
    requests.write_bytes(b'{"no": "request"}\n' + requests.read_bytes())
    told = refused("report", tmp_path, code=1, words="")
    assert told.startswith(f"error: {requests}, line 1 is damaged")


@pytest.mark.usefixtures("triton_parts")
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    """A terminal sends the signal to bench alone: the others have sessions of their own."""
    folder, log = tmp_path / "results", tmp_path / "log"
    load = (*COLD, "--duration", "60s", "--preprocess", "opencv,pillow")
    with loaded(RUN, *load, into=folder) as process:
        members = family(process)
        names = {Path(member.exe()).name for member in members}
        assert "tritonserver" in names
        group = [member for member in members if os.getpgid(member.pid) == process.pid]
        assert [member.pid for member in group] == [process.pid]
        process.send_signal(signal.SIGINT)
        assert ended(process) == 130
        assert alive(members) == []
    said = log.read_text()
    assert "error: interrupted" in said
    assert f"results: {only_run(folder)}" in said
    assert "Traceback" not in said
    code, summary = report(only_run(folder))
    assert code == 0, summary["issues"]
    assert summary["requests"] > 20


@pytest.mark.usefixtures("triton_parts")
def test_bench_run_killed_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with loaded(RUN, *COLD, "--duration", "60s", into=folder) as process:
        members = family(process)
        process.kill()
        process.wait()
        wait_gone(members)
    _, summary = report(only_run(folder))
    assert summary["requests"] > 0


@pytest.mark.usefixtures("triton_parts")
def test_a_server_of_its_own_ends_with_the_run(tmp_path: Path) -> None:
    load = ("--headless", "-u", 1, "-t", "2s", "--start-server")
    with loaded(LOCUST, *load, into=tmp_path / "results", enough=5) as process:
        members = family(process)
        assert "tritonserver" in {Path(member.exe()).name for member in members}
        assert ended(process) == 0
        wait_gone(members)
    assert re.search(r"^results: ", (tmp_path / "log").read_text(), re.MULTILINE)


def test_something_else_at_the_address_is_not_triton() -> None:
    with socket.socket() as mute:  # accepts, and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        words = f"error: Triton is not ready at {address}"
        refused("run", "classification", *SMALL, "--server", address, code=1, words=words)
