"""`bench slo`: the rate that holds a latency, of a server whose capacity is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import Elements
from processes import bench, refused
from queues import CAPACITY, SERVICE_S, Simulated

from bench.commands.measuring import slo as command
from bench.ledger.reading import read
from bench.predict.held import Objective, held
from bench.predict.points import latencies_ms
from bench.record.scenario import settings_of
from bench.runs.early import Early
from bench.runs.run import Plan, execute


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """Runs that take no time."""
    simulated = Simulated()
    monkeypatch.setattr(command, "standing", simulated.standing)
    return simulated


def slo(*options: object) -> str:
    done = bench("slo", "classification", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rate_is_found_with_its_evidence(made: Simulated, tmp_path: Path) -> None:
    told = slo("--p99", "100ms", "--results", tmp_path)
    said = re.search(r"^(\d+) requests/s \((\d+) to (\d+)\)", told, re.MULTILINE)
    assert said
    rate, low, high = map(float, said.groups())
    assert rate == pytest.approx(0.945 * CAPACITY, rel=0.05)
    assert low < rate < high
    assert f"{rate:.0f} requests/s ({low:.0f} to {high:.0f}) hold p99 within 100 ms" in told
    assert re.search(
        r"the highest that held: \d+ answers/s within the limit, [\d.]+\s+megapixels", told
    )
    assert "images/s for each core" in " ".join(told.split())
    assert {"held", "broke"} <= set(re.findall(r"^(\w+)", told, re.MULTILINE))
    assert max(map(len, told.splitlines())) <= 100
    (folder,) = tmp_path.iterdir()
    page = (folder / "slo.html").read_text()
    cells = Elements(page).tables["p99-probes"]
    assert len(cells) == 8 * len(made.settings)  # a head, and all runs but the first
    assert f"{rate:.0f} requests/s hold p99 within 100 ms" in page
    assert "limit: 100 ms" in page
    assert page.count(">the rate</text>") == 2  # of the picture for a screen, and for a phone
    assert len({one.seed for one in made.settings}) == len(made.settings)


def test_it_goes_on_after_a_ctrl_c(made: Simulated, tmp_path: Path) -> None:
    short = ("--p99", "100ms", "--duration", "8s")
    whole = slo(*short, "--results", tmp_path / "whole")
    probes = len(made.settings)
    made.settings.clear()
    made.interrupt_at = 4
    given = ("slo", "classification", *short, "--results", tmp_path / "cut")
    cut = bench(*given)
    assert cut.returncode == 130
    assert "requests/s" in cut.stdout
    (folder,) = (tmp_path / "cut").iterdir()
    assert f"--resume {folder}" in cut.stderr
    done = bench(*given, "--resume", folder)
    assert done.stdout == whole
    assert len(made.settings) == probes
    made.absent = True
    again = bench(*given, "--resume", folder)
    assert (again.returncode, again.stdout) == (0, whole), "nothing is started"
    other = (*given[:3], "50ms", *given[4:], "--resume", folder)
    refused(*other, code=1, words="was made with another --p99")


def test_a_latency_that_no_rate_holds_is_said(made: Simulated, tmp_path: Path) -> None:
    done = bench("slo", "classification", "--p99", "4ms", "--results", tmp_path)
    assert done.returncode == 3
    said = " ".join(done.stdout.split())
    assert "No rate holds p99 within 4.00 ms" in said
    assert "in ms: that is the best there is" in said
    assert len(made.settings) < 12


def test_a_budget_that_is_spent_is_said(made: Simulated, tmp_path: Path) -> None:
    done = bench("slo", "classification", "--p99", "1s", "--budget", "27s", "--results", tmp_path)
    assert done.returncode in (0, 4)
    made.settings.clear()
    short = bench(
        "slo", "classification", "--p99", "100ms", "--budget", "1s", "--results", tmp_path
    )
    assert short.returncode == 4
    assert len(made.settings) == 1


def test_too_few_requests_are_said_before_the_search(made: Simulated, tmp_path: Path) -> None:
    options = ("--p99.9", "100ms", "--duration", "5s", "--results", tmp_path)
    words = ["a probe needs 3,838 requests to tell its p99.9", "say --duration 12s"]
    refused("slo", "classification", *options, code=1, words=words)
    assert len(made.settings) == 1


def test_json_has_the_numbers(made: Simulated, tmp_path: Path) -> None:
    del made
    options = ("--p95", "50ms", "--p50", "30ms", "--arrivals", "constant", "--duration", "8s")
    options += ("--results", str(tmp_path))
    told = json.loads(slo(*options, "--format", "json"))
    assert told["limits_ms"] == {"p50": 30, "p95": 50}
    assert told["ended"] == "found"
    assert told["low"] <= CAPACITY * 1.01
    assert told["high"] >= CAPACITY * 0.99
    best = told["probes"][told["best"]]
    assert best["held"] is True
    assert told["goodput_per_s"] == pytest.approx(best["throughput_per_s"], rel=0.02)
    assert told["images_per_core_s"] == pytest.approx(told["goodput_per_s"] / 2)
    assert told["breaks"]["resource"] == "in flight"
    assert "### rate of classification" in slo(*options, "--format", "md")


@pytest.mark.parametrize(("users", "rate"), [(256, 250), (4, 1600)])
def test_a_real_probe_ends_once_it_is_clear(tmp_path: Path, users: int, rate: int) -> None:
    """Of the fake engine: where few are busy it holds, at twice its capacity much is dropped."""
    objective = Objective({"p95": 1000.0}, max_error=0.01)
    settings = settings_of(
        {"transport": "fake", "images": "small", "warmup_s": 0.3}
        | {"users": users, "rate": f"{rate}/s", "service_s": SERVICE_S}
    )
    plan = Plan(settings, 60.0, results=tmp_path)
    folder = execute(plan, enough=Early(objective))
    reading = read(folder)
    summary = reading.summary()
    assert 1 < summary.duration_s < 40
    assert summary.requests == reading.manifest.due
    assert held(objective, latencies_ms(folder)).held is (rate < users / SERVICE_S)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say what is to be held, as --p99 100ms"),
        (("--p99", "fast"), "not a duration: 'fast'"),
        (("--p99", "1s", "--max-error", "200%"), "not a part of the requests: '200%'"),
    ],
)
def test_what_cannot_be_is_said(options: tuple[str, ...], words: str) -> None:
    refused("slo", "classification", *options, code=2, words=words)
