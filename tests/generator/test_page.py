"""Locust's web page: what is asked for in its fields, and what it shows, is so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from processes import until
from runs import answered
from swarm import Page, serving

from bench.generator.watching import apportion
from bench.record import records
from bench.record.manifest import Manifest, read_manifest
from bench.record.records import DROPPED
from bench.record.scenario import SIZED, Settings
from pipelines.topologies.setting import flag, table

WARMUP_S = 0.2
COOLDOWN_S = 1.0
UNSET = {
    "rate": "",
    "cameras": "",
    "replay": "",
    "think": "0s",
    "seed": "1",
    "pipeline": "classification",
    "preprocess": "opencv",
    "place": "server",
    "images": "small",
    "service": "5ms",
    "arrivals": "poisson",
    "late": "",
}
"""What another test may have left in the page's fields."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One that makes all the runs here, after each other."""
    fake = ("--transport", "fake", "--service", "5ms", "--images", "small")
    options = (*fake, "--warmup", f"{WARMUP_S}s")
    with serving(tmp_path_factory.mktemp("page"), *options) as serves:
        yield serves


def window_s(manifest: Manifest) -> float:
    assert manifest.window_end_ns
    return (manifest.window_end_ns - manifest.window_start_ns) / 1e9


def test_the_run_time_counts_from_the_first_request(page: Page) -> None:
    """Measuring DALI's steps takes as long, and is done before."""
    folder = page.run(**UNSET | {"preprocess": "dali", "place": "client", "run_time": "3s"})
    assert records.read_apportion(folder)
    manifest = read_manifest(folder)
    assert window_s(manifest) > 0.95 * (3 - WARMUP_S - COOLDOWN_S)
    late_s = WARMUP_S - (manifest.window_start_ns - answered(folder)[0].due_ns) / 1e9
    assert 0 <= late_s < apportion.BUDGET_S / 3


def test_fields_changed_between_runs_take_effect(page: Page) -> None:
    fast = UNSET | {"run_time": "2s"}
    slots = {"user_count": 20, "spawn_rate": 1}  # which would take 20 s to come
    rate = fast | {"rate": "100/s", "arrivals": "constant", "seed": "7"}
    first = read_manifest(page.run(**rate, **slots))
    assert (first.settings.rate, first.settings.arrivals) == ("100/s", "constant")
    assert (first.settings.seed, first.settings.users) == (7, 20)
    assert first.due == pytest.approx(100 * window_s(first), abs=1)
    second = read_manifest(page.run(**fast))
    assert (second.settings.rate, second.settings.users, second.settings.seed) == (None, 2, 1)
    assert (second.settings.late, second.due) == ("drop", None)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"rate": "abc"}, "not a rate: 'abc'; write 120/s"),
        ({"seed": "x3"}, "--seed: 'x3' is not a valid integer"),
        ({"rate": "5/s", "cameras": "1@5"}, "rate and cameras each say when requests are due"),
        ({"rate": "5/s", "think": "1s"}, "with rate no user thinks"),
        ({"replay": "/nowhere"}, "/nowhere cannot be read"),
        ({"arrivals": "odd"}, "'odd' is not one of 'poisson'"),
        ({"images": "nothing"}, "nothing"),
        ({"pipeline": "depth:1,nope:1"}, "unknown pipeline: nope"),
        ({"user_count": "many"}, "many"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_nothing_starts(
    page: Page, field: dict[str, str], words: str
) -> None:
    before = [*page.folder.glob("*")]
    answer = page.start(**UNSET | field)
    assert not answer["success"]
    assert words in answer["message"]
    assert [*page.folder.glob("*")] == before


def test_its_numbers_are_those_of_the_records(page: Page) -> None:
    """To 1 %, and what was dropped has no response time; a run after one that was refused."""
    assert not page.start(**UNSET | {"rate": "abc"})["success"]
    over = UNSET | {"rate": "200/s", "service": "17.5ms", "run_time": "2s"}
    folder = page.run(**over, user_count=1)
    all_ = [*records.read_requests(folder)]
    dropped = sum(one.error == DROPPED for one in all_)
    assert dropped > 10

    def whole() -> dict[str, Any] | None:
        told: dict[str, Any] = page.stats()["stats"][-1]
        return told if told["num_requests"] == len(all_) else None

    told = until(whole, "the page shows the end")  # it keeps its numbers for a moment
    assert told["num_failures"] == dropped
    ms = sorted((one.end_ns - one.due_ns) / 1e6 for one in answered(folder))
    assert told["median_response_time"] == pytest.approx(np.percentile(ms, 50), rel=0.01)
    assert told["min_response_time"] >= 17


def test_a_mix_of_pipelines_has_a_line_for_each(page: Page) -> None:
    mix = {"pipeline": "classification:1,detection:1", "run_time": "2s"}
    asked = Counter(one.pipeline for one in records.read_requests(page.run(**UNSET | mix)))
    assert min(asked.values()) > 10
    want = {f"{name} opencv@server": count for name, count in asked.items()}

    def lines() -> dict[str, int]:
        return {one["name"]: one["num_requests"] for one in page.stats()["stats"]}

    until(lambda: want.items() <= lines().items(), "a line for each")  # kept for a moment, too


@pytest.mark.browser
def test_a_person_finds_the_fields(page: Page, browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 1400, "height": 1200})
    tab.goto(page.url, wait_until="networkidle")
    if tab.get_by_role("button", name="New").count():
        tab.get_by_role("button", name="New").click()
    tab.get_by_text("Advanced options").click()
    tab.get_by_text("Custom parameters").click()
    tab.get_by_label("Rate (").wait_for()
    labels = " ".join(tab.locator("label").all_inner_texts())
    for field, setting in table(Settings).items():
        if field not in ("server", "users", "device", *SIZED):
            name = flag(field).removeprefix("--").replace("-", " ").title()
            assert f"{name} ({setting.help}" in labels
    before = len(page.runs())
    tab.get_by_label("Rate (").fill("abc")
    tab.get_by_label("Run time").fill("2s")
    tab.get_by_role("button", name="Start").click()
    tab.get_by_text("not a rate: 'abc'").wait_for()
    tab.get_by_label("Rate (").fill("50/s")
    tab.get_by_role("button", name="Start").click()
    until(lambda: len(page.runs()) > before, "the end of the run")
    assert read_manifest(page.runs()[-1]).settings.rate == "50/s"
    tab.close()
