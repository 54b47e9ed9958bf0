"""`bench curve`: the knee of a server with a known capacity, found, shown and gone on with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted import WHOLE
from pages import Elements
from processes import bench, refused
from queues import CAPACITY, Simulated

from bench.commands import target
from bench.commands.measuring import curve as command
from bench.record import records
from bench.record.manifest import read_manifest
from bench.runs.attached import server as servers
from pipelines.servers import control


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """Runs that take no time."""
    simulated = Simulated()
    monkeypatch.setattr(command, "standing", simulated.standing)
    return simulated


def test_the_fake_engine_s_capacity_is_found(tmp_path: Path) -> None:
    """Two users: what they answer at most, which is no more than their number over what a request
    takes.
    """
    options = ("--transport", "fake", "--images", "small", "--service", "10ms", "--users", "2")
    options += ("--late", "queue", "--rates", "30,60,500", "--duration", "1500ms")
    options += ("--warmup", "300ms")
    done = bench("curve", "classification", *options, "--results", tmp_path, "--format", "json")
    assert done.returncode in (0, 4), done.stderr  # 4 where the machine is busy
    told = json.loads(done.stdout)
    (folder,) = tmp_path.iterdir()
    assert [point["load"] for point in told["points"]] == [30, 60, 500]
    overloaded = folder / told["points"][-1]["run"]
    window = read_manifest(overloaded)
    answered = [
        one
        for one in records.read_requests(overloaded)
        if window.window_start_ns <= one.end_ns < (window.window_end_ns or 0)
    ]
    window_s = ((window.window_end_ns or 0) - window.window_start_ns) / 1e9
    capacity = told["knee"]["capacity_per_s"]
    assert capacity == pytest.approx(len(answered) / window_s, rel=0.05)
    most = 2 / np.mean([(one.end_ns - one.start_ns) / 1e9 for one in answered])
    # From a request to the next a user waits for a core, where others keep those.
    assert 0.5 * most < capacity < 1.05 * most <= 1.05 * 2 / 0.01
    assert told["saturates"]["resource"] == "in flight"
    assert re.search(r"requests/s, \d+ s left", done.stderr)


def test_rates_are_chosen_around_the_knee(made: Simulated, tmp_path: Path) -> None:
    done = bench("curve", "classification", "--images", "small", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"The knee is at (\d+) requests/s \((\d+) to (\d+)\)", done.stdout)
    assert found
    at, low, high = found.groups()
    assert float(at) == pytest.approx(CAPACITY, rel=0.05)
    assert float(low) < CAPACITY < float(high)
    assert "! INVALID (DROPS)" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    first, *others = made.settings
    assert first.rate is None
    assert len({one.seed for one in others}) == len(others) == 10
    (folder,) = tmp_path.iterdir()
    page = (folder / "curve.html").read_text()
    assert {"throughput", "latency", "share"} <= Elements(page).tables.keys()
    assert page.count(">knee</text>") == 6  # of each picture for a screen and for a phone
    assert "A red ring is around what is INVALID." in page


def test_users_are_doubled_until_it_grows_no_more(made: Simulated, tmp_path: Path) -> None:
    done = bench("curve", "classification", "--sweep", "users", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [one.users for one in made.settings] == [1, 2, 4, 8, 16]
    assert "The knee is at 2.00 users" in done.stdout


def test_it_goes_on_after_a_ctrl_c(made: Simulated, tmp_path: Path) -> None:
    made.interrupt_at = 4
    cut = bench("curve", "classification", "--results", tmp_path)
    assert cut.returncode == 130
    assert "No knee: throughput grew to the last point" in cut.stdout
    (folder,) = tmp_path.iterdir()
    assert f"go on with: the same command and --resume {folder}" in cut.stderr
    done = bench("curve", "classification", "--results", tmp_path, "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert "The knee is at" in done.stdout
    assert len(made.settings) == 11
    other = ("--arrivals", "constant", "--resume", folder)
    refused(
        "curve", "classification", *other, code=1, words="was made with another --arrivals: none"
    )
    made.absent = True
    again = bench("curve", "classification", "--resume", folder)
    assert again.stdout == done.stdout, "nothing is started where nothing is left"
    assert len(made.settings) == 11


def test_it_is_shown_in_other_formats(made: Simulated, tmp_path: Path) -> None:
    options = ("--rates", "100,300,500,600", "--results", tmp_path)
    done = bench("curve", "classification", *options, "--format", "md")
    assert "### classification by requests/s" in done.stdout
    assert done.stdout.count("\n| ") == 12
    assert len(made.settings) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("classification", "--rates", "fast"), "not loads: 'fast'; write 50,100,200"),
        (("classification", "--sweep", "users", "--rates", "5"), "--rates are of --sweep rate"),
        (("classification", "--users", "1,2"), "several --users are of --sweep users"),
        ((), "say which PIPELINE, or --attach URL --model NAME"),
        (("--attach", "127.0.0.1:1"), "say which model with --model"),
        (("classification", "--attach", "127.0.0.1:1"), "say which PIPELINE, or --attach"),
        (("--attach", "h:1", "--model", "m", "--topology", "direct"), "attached to: --topology"),
    ],
)
def test_what_does_not_go_together_is_said(options: tuple[str, ...], words: str) -> None:
    refused("curve", *options, code=2, words=words)


def test_nothing_is_left_to_go_on_with(tmp_path: Path) -> None:
    words = f"{tmp_path} is no search: it has no search.json"
    given = ("curve", "classification", "--transport", "fake", "--images", "small")
    refused(*given, "--resume", tmp_path, code=1, words=words)


def test_an_attached_server_is_asked_again_and_again(
    triton: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each run has what the server lets it see, and the server is left as it was."""
    for module in ("setting", "attach", "levels"):
        monkeypatch.setattr(f"bench.runs.attached.{module}.JOURNALS", tmp_path / "journals")
    setting = control.ask(triton.url, f"/v2/models/{WHOLE}/trace/setting")
    which = ("--attach", triton.url, "--model", WHOLE, "--images", "small")
    options = ("--rates", "10,25", "--duration", "1s", "--warmup", "300ms", "--format", "json")
    done = bench("curve", *which, *options, "--results", tmp_path / "results")
    assert done.returncode in (0, 4), done.stderr
    told = json.loads(done.stdout)
    assert [point["load"] for point in told["points"]] == [10, 25]
    assert all("inference" in point["stages_ms"] for point in told["points"])
    assert all(point["waits_ms"] for point in told["points"])
    assert done.stderr.count("level (a)") == 1
    assert control.ask(triton.url, f"/v2/models/{WHOLE}/trace/setting") == setting
    assert not [*(tmp_path / "journals").glob("*.json")]


def test_another_host_wants_a_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = servers.Server("192.0.2.1:8000", "triton", "2.51.0", frozenset())
    monkeypatch.setattr(target, "looked_at", lambda *_: elsewhere)
    given = ("--attach", elsewhere.url, "--model", "m", "--results", tmp_path)
    for asked in (("curve",), ("slo", "--p99", "100ms")):
        refused(*asked, *given, code=1, words="say --i-may-load-this-host")
    assert not [*tmp_path.iterdir()]
