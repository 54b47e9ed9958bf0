"""What is left of a run whose load, server or terminal is lost in the middle of it."""

import os
import re
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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
from processes import (
    LOCUST,
    PROGRAMS,
    alive,
    bench,
    ended,
    family,
    loading,
    regions_of,
    run,
    until,
    wait_gone,
)
from runs import enough, measured

from bench.record import records, trace
from bench.record.manifest import read_manifest
from pipelines.servers import control, triton
from pipelines.spans import Request

PAUSE_NS = 50_000_000
"""How long a user waits after an error."""


@pytest.fixture
def own_server(triton_parts: None, tmp_path: Path) -> Iterator[triton.Server]:  # noqa: ARG001
    """A server that a test may kill."""
    sizes = triton.Sizes(preprocess=1, inference=1)
    with triton.start(tmp_path / "server", sizes=sizes) as running:
        running.wait_ready()
        yield running
        running.process.kill()  # asked to end, it would first wait for all connections to it


def test_killing_the_generator_loses_a_second_at_most(
    triton: triton.Server, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    load = (*two_users(triton.url, 600), *CALM, "--transport", "shm")
    with loaded(LOCUST, *load, into=folder) as process:
        until(lambda: enough(30)(only_run(folder)), "requests that count")
        members = family(process)
        process.kill()
        process.wait()
        wait_gone(members)
    assert regions_of(process) == []
    (requests,) = only_run(folder).glob("requests-*.jsonl")
    last_ns = max(request.end_ns for request in records.read_requests(only_run(folder)))
    traced = trace.read(only_run(folder))
    assert traced["REQUEST_END"].max() - last_ns < 1.5e9  # what it asked and did not record
    with requests.open("ab") as file:
        file.write(b'["cut-off","classif')  # as a disk may keep it
    code, summary = report(only_run(folder))
    assert "UNFINISHED" in codes(summary)
    assert summary["requests"] > 20
    assert invalid(summary) <= OF_A_BUSY_MACHINE, summary["issues"]
    assert code == (4 if invalid(summary) else 0)
    text = bench("report", only_run(folder))
    assert "the run was cut off" in text.stdout


def test_killing_generator_and_monitor_leaves_a_run_that_can_be_read(
    triton: triton.Server, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with loaded(LOCUST, *two_users(triton.url, 600), *CALM, into=folder, enough=0) as process:
        until(lambda: len(list(folder.glob("*/trace.json.*"))) >= 3, "trace")
        until(lambda: enough(30)(only_run(folder)), "requests that count")
        for member in family(process):
            member.kill()
    control.turn_off(triton.url)  # of the traces, as the next run does
    (part, *_) = only_run(folder).glob("trace.json.*")
    part.write_bytes(part.read_bytes()[:-500])
    _, summary = report(only_run(folder))
    assert "UNFINISHED" in codes(summary)
    assert summary["stages"]["inference"]["share"] > 0


def test_a_server_that_dies_is_on_the_record(own_server: triton.Server, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with loaded(LOCUST, *two_users(own_server.url, 10), into=folder, enough=20) as process:
        own_server.process.kill()
        assert ended(process) == 1
    asked: dict[str, dict[int, Request]] = {}
    for request in records.read_requests(only_run(folder)):
        user, _, number = request.id.rpartition("-")
        asked.setdefault(user, {})[int(number)] = request
    assert len(asked) == 2
    assert all(sorted(sent) == list(range(len(sent))) for sent in asked.values())
    code, summary = report(only_run(folder))
    assert code == 4
    assert summary["valid"] is False
    assert summary["errors"] > 0
    late_ns = [
        sent[number + 1].start_ns - sent[number + 1].due_ns
        for sent in asked.values()
        for number in range(len(sent) - 1)
        if sent[number].error
    ]
    assert statistics.median(late_ns) < PAUSE_NS / 2  # the pause after an error is no lateness
    (errors,) = (issue for issue in summary["issues"] if issue["code"] == "ERRORS")
    assert f"no answer from Triton at {own_server.url}" in errors["message"]
    assert "INVALID" in bench("report", only_run(folder)).stdout


def test_a_server_that_crashes_is_named_with_when_and_how(
    own_server: triton.Server, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with loaded(LOCUST, *two_users(own_server.url, 10), into=folder, enough=20) as process:
        until(lambda: measured(only_run(folder)), "the end of the warm-up")
        (it,) = (each for each in family(own_server.process) if each.name() == "tritonserver")
        killed_ns = time.monotonic_ns()
        it.send_signal(signal.SIGSEGV)
        assert ended(process) == 1
        over_ns = time.monotonic_ns()
    code, summary = report(only_run(folder))
    assert code == 4
    (died,) = (issue for issue in summary["issues"] if issue["code"] == "SERVER_DIED")
    when = re.fullmatch(
        r"Triton ended by SIGSEGV, ([\d.]+) s into the measurement: .+", died["message"]
    )
    assert when
    start_ns = read_manifest(only_run(folder)).window_start_ns
    assert killed_ns - 1e8 < start_ns + float(when[1]) * 1e9 < over_ns + 1e8  # it is rounded
    kept = records.read_died(only_run(folder))
    assert kept
    assert any(line.startswith("Signal (11) received") for line in kept.lines)


def test_no_further_run_is_made_when_the_server_has_died(
    own_server: triton.Server, tmp_path: Path
) -> None:
    folder, log = tmp_path / "results", tmp_path / "log"
    load = ("--server", own_server.url, "--preprocess", "opencv,pillow", "--duration", "10s")
    with loaded(RUN, *load, into=folder, enough=20) as process:
        own_server.process.kill()
        assert ended(process) == 1
    said = log.read_text()
    assert "INVALID" in said  # what was measured is reported all the same
    assert f"results: {only_run(folder)}" in said
    assert f"error: Triton at {own_server.url} " in said
    assert "\nhint: " in said


def test_a_second_run_on_one_server_is_told_of_the_first(
    own_server: triton.Server, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    load = (*two_users(own_server.url, 3600), *CALM)
    with loaded(LOCUST, *load, into=first, enough=20) as process:
        for program in PROGRAMS:
            done = loading(program, "--server", own_server.url, "--results", second, *SMALL)
            assert done.returncode == 1
            told = f"is being traced for another run: {only_run(first)}\nhint: wait until"
            assert told in done.stderr
            assert list(second.iterdir()) == []
        for member in family(process):  # its lock goes with it
            member.kill()
    options = ("--server", own_server.url, "--results", second, "--duration", "1s", *COLD)
    assert run(RUN, *SMALL, *options).returncode in (0, 4)  # 4 where the machine is busy


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
    triton: triton.Server, tmp_path: Path
) -> None:
    """As a decoder does that a hostile image brings down."""
    (tmp_path / "images").mkdir()
    name = tmp_path / "images" / "photo.jpg"
    name.write_bytes(encode(photograph()))
    folder, log = tmp_path / "results", tmp_path / "log"
    given = ("--place", "client", "--duration", "600s", "--users", 2, "--server", triton.url)
    images = ("--images", tmp_path / "images")
    with loaded(RUN, *given, *images, into=folder, enough=20) as process:
        (load,) = (each for each in family(process) if "locust" in each.cmdline())
        load.send_signal(signal.SIGSEGV)
        assert ended(process) == 1
    said = log.read_text()
    assert f"error: the load was ended by SIGSEGV with {name} in flight\nhint: " in said
    assert f"results: {only_run(folder)}" in said
    assert "UNFINISHED" in codes(report(only_run(folder))[1])


@pytest.mark.usefixtures("triton_parts")
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    """A terminal sends the signal to bench alone: the others have sessions of their own."""
    folder, log = tmp_path / "results", tmp_path / "log"
    load = (*COLD, "--duration", "600s", "--preprocess", "opencv,pillow")
    with loaded(RUN, *load, into=folder) as process:
        until(lambda: enough(30)(only_run(folder)), "requests that count")
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
    _, summary = report(only_run(folder))
    assert invalid(summary) <= OF_A_BUSY_MACHINE, summary["issues"]
    assert summary["requests"] > 20


@pytest.mark.usefixtures("triton_parts")
def test_bench_run_killed_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with loaded(RUN, *COLD, "--duration", "600s", into=folder) as process:
        until(lambda: enough(5)(only_run(folder)), "requests that count")
        members = family(process)
        process.kill()
        process.wait()
        wait_gone(members)
    _, summary = report(only_run(folder))
    assert summary["requests"] > 0
