"""The load against the real server: what a run leaves, in each way to start one or to fail to."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import swarm
from attached import Speaker
from injection import Refusing
from loads import (
    CALM,
    COLD,
    OF_A_BUSY_MACHINE,
    RUN,
    SMALL,
    codes,
    invalid,
    loaded,
    only_run,
    report,
    two_users,
)
from pictures import encode, photograph
from PIL import Image
from processes import (
    LOCUST,
    PROGRAMS,
    ROOT,
    bench,
    ended,
    family,
    loading,
    refused,
    run,
    started,
    until,
    wait_gone,
)
from runs import enough, measured

from bench.ledger.summary import SCHEMA
from bench.prepare.pins import DOWNLOADS, read_members
from bench.record import folders, records, scenario, trace
from bench.record.manifest import read_manifest
from bench.runs.run import together
from pipelines import processes
from pipelines.preprocess.choose import WAYS
from pipelines.servers import triton
from pipelines.topologies.choose import Setup, pipeline

OF_A_SHORT_RUN = {"FEW", "FOREIGN", "STEAL", "DRIFT", "CHANGE", "WARM_UP"}
"""What may warn of a run of some seconds there."""

KEYS = {
    *("run", "valid", "issues", "requests", "errors", "throughput_per_s", "latency_ms", "stages"),
    *("tail_stages", "other_share", "non_inference_share"),
}
ESPRESSO = 967
ENOUGH = 20
"""More requests than that make a run that says something."""


def made_of_enough(
    make: Callable[[tuple[object, ...], Path], None], url: str, folder: Path
) -> Path:
    """The run that `make` makes with such a load; of more seconds where the machine is busy."""
    for seconds in (3, 12, 60):
        into = folder / f"{seconds} s"
        make((*two_users(url, seconds), *SMALL, *CALM, "--results", into), into)
        if report(only_run(into))[1]["requests"] > ENOUGH:
            break
    return only_run(into)


def assert_whole(folder: Path, *, processes: int) -> None:
    """The run's files are all there, every request is joined, and its report is valid."""
    names = {path.name for path in folder.iterdir()}
    assert {"manifest.json", "trace.csv", "samples.jsonl"} <= names
    assert len(list(folder.glob("requests-*.jsonl"))) == processes
    assert not list(folder.glob("trace.json*"))
    roles = {one.role for one in records.read_samples(folder)}
    assert roles == {"generator", "server", "machine", "monitor"}
    requests = list(records.read_requests(folder))
    assert len({request.id for request in requests}) == len(requests)
    traced = trace.read(folder)
    ensembles = Counter(traced[traced["parent"] == 0]["request"])
    manifest = read_manifest(folder)
    assert manifest.window_end_ns
    inside = [each.id for each in measured(folder) if each.due_ns < manifest.window_end_ns]
    assert [id for id in inside if ensembles[id] != 1] == []
    code, summary = report(folder)
    busy = OF_A_BUSY_MACHINE | ({"GENERATOR_LOST"} if processes > 1 else set())  # late heartbeats
    assert codes(summary) <= OF_A_SHORT_RUN | busy, summary["issues"]
    assert invalid(summary) <= busy, summary["issues"]
    valid = not invalid(summary)
    assert (code, summary["valid"], summary["schema"]) == (0 if valid else 4, valid, SCHEMA)
    assert set(summary) >= KEYS
    assert set(summary["latency_ms"]) == {"mean", "max", "quantiles"}
    for stage in summary["stages"].values():
        assert {"mean_ms", "p50_ms", "p99_ms", "share", "work_ms"} <= set(stage)
    assert sum(stage["share"] for stage in summary["stages"].values()) == pytest.approx(1)
    assert summary["requests"] > ENOUGH
    assert summary["errors"] == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_locust_leaves_a_whole_run(triton: triton.Server, tmp_path: Path, processes: int) -> None:
    def make(load: tuple[object, ...], folder: Path) -> None:
        done = run(LOCUST, *load, *(together(2) if processes > 1 else ()))
        assert done.returncode == 0, done.stderr
        assert f"results: {only_run(folder)}" in done.stderr
        assert "Traceback" not in done.stderr

    assert_whole(made_of_enough(make, triton.url, tmp_path), processes=processes)


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
    with swarm.serving(tmp_path, "--host", triton.url, *SMALL, *COLD) as page:
        known: set[Path] = set()
        for number in (1, 2):
            assert page.start(host=triton.url)["success"]
            (made,) = until(lambda k=known: {*page.folder.glob("*")} - k, "a folder")
            until(lambda f=made: enough(300)(f), "requests")
            known.add(made)
            page.stop()
            until(lambda n=number: len(page.runs()) == n, "the end of the run")
        members = family(page.process)
        page.process.send_signal(signal.SIGINT)
        ended(page.process)
        wait_gone(members)
    for path in page.runs():
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_triton_at_the_address(tmp_path: Path, program: str) -> None:
    address = f"127.0.0.1:{processes.free_port()}"
    done = loading(program, "--server", address, "--results", tmp_path, *SMALL)
    assert done.returncode == 1
    assert f"error: Triton is not ready at {address}\nhint: is 'bench serve'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_triton_that_is_not_ready_is_not_waited_for(tmp_path: Path, program: str) -> None:
    with Speaker({"/v2/health/ready": (503, {})}) as server:
        done = loading(program, "--server", server.url, "--results", tmp_path, *SMALL)
        server.shutdown()
    assert done.returncode == 1
    assert f"error: Triton is not ready at {server.url}: HTTP 503" in done.stderr
    assert len(server.seen) == 1
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
    given = (*SMALL, *COLD, "--transport", "fake", "--users", 4, "--duration", "10m")
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
    assert done.returncode in (0, 4), done.stderr  # 4 where the machine is busy
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
        read_manifest(tmp_path)
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
def test_a_server_of_its_own_ends_with_the_run(tmp_path: Path) -> None:
    load = ("--headless", "-u", 1, "-t", "6s", "--start-server")
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
