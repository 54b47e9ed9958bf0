"""Every kind of page, as people meet it: on a desk and a phone, by day and by night, on paper, and
read aloud.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import opened, outside
from drawn import a_curve, a_search, run_folder
from experiments import planted, write_experiment
from summaries import MIX, failed, mixed, stage_times, summary

from bench.compare.stored import of_experiment
from bench.ledger.details.examples import details
from bench.ledger.grid.cells import cells_of
from bench.ledger.grid.found import found_of
from bench.ledger.grid.study import find, with_values
from bench.ledger.reading import read
from bench.report import capacity, comparison, run
from bench.report.study.page import render

pytestmark = pytest.mark.browser
SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
SERIOUS = ("serious", "critical")


def some_runs() -> str:
    runs = [
        mixed(),
        summary(preprocess="dali", stages=stage_times(MIX, apportioned=("decode",))),
        summary({**MIX, "decode": 118.0}, images="large", valid=False),
        failed(),
    ]
    return run.render(runs, format="html")


def one_run(folder: Path) -> str:
    found = read(run_folder(folder))
    one = found.summary()
    return run.render([one], format="html", details={one.run: details(found)})


def a_study(name: str, given: dict[str, str]) -> str:
    asked = with_values(find(name)[1], given)
    cells = cells_of(asked)
    runs = {cell.name: [summary(run=cell.name)] for cell in cells}
    found = found_of(name, asked, cells, runs, failed={"another": "it died"})
    by_run = {one.run: one for own in runs.values() for one in own}
    return render(found, [by_run[point.shown] for point in found.points], format="html")


def a_page(name: str, folder: Path) -> str:
    match name:
        case "runs":
            return some_runs()
        case "run":
            return one_run(folder)
        case "study":
            return a_study("overhead", {"place": "client"})
        case "study of numbers":
            return a_study("broker", {"topology": "direct,kafka,redis-streams"})
        case "curve":
            curve = a_curve()
            return capacity.render(
                curve, [summary(run=one.run) for one in curve.points], format="html"
            )
        case "search":
            return capacity.render_search(a_search(), format="html")
        case _:
            made = of_experiment(write_experiment(folder, planted))
            return comparison.render(made, format="html")


KINDS = ["runs", "run", "study", "study of numbers", "curve", "search", "experiment"]


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looks")
    page = folder / "page.html"
    page.write_text(a_page(request.param, folder / "run"), encoding="utf-8")
    return page


@pytest.fixture(params=SCREENS)
def page(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Any]:
    width, height = SCREENS[request.param]
    with opened(browser, path, width=width, height=height) as shown:
        yield shown


def test_it_is_one_small_file_that_opens_by_itself(page: Any, path: Path) -> None:
    assert page.faults == []
    assert path.stat().st_size < 3_000_000
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert outside(page, but=".scroll, .defs") == []


def test_every_picture_is_drawn_and_has_its_table(page: Any) -> None:
    """In ink, once for this screen, and beside a table of the same part of the page."""
    for chart in page.locator("[data-chart]").all():
        drawn = [one for one in chart.locator("svg").all() if one.is_visible()]
        assert drawn
        assert all(one.bounding_box()["width"] > 100 for one in drawn)
        assert chart.locator("rect, path, line").count()
    behind = page.evaluate(
        """[...document.querySelectorAll('section:has(> [data-chart])')].filter(it =>
           it.querySelector('h2') && !it.querySelector('table')).map(it => it.id)"""
    )
    assert behind == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_anyone_can_read_it(page: Any, scheme: str) -> None:
    """No serious violation of what axe-core knows, in colours by day and by night."""
    page.emulate_media(color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    said = [
        f"{one['id']}: {node['html'][:150]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
    assert said == []


def test_it_fits_paper(browser: Any, path: Path) -> None:
    """Nothing is cut at the edge of a sheet of A4, 720 pixels between its margins."""
    with opened(browser, path, width=720, height=1000) as shown:
        shown.emulate_media(media="print")
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert shown.faults == []


def test_numbers_come_along_as_csv(browser: Any, path: Path, tmp_path: Path) -> None:
    with opened(browser, path, width=1280, height=900) as shown:
        link = shown.locator("a[download]").first
        with shown.expect_download() as download:
            link.click()
        download.value.save_as(tmp_path / "numbers.csv")
        table = link.locator("xpath=../preceding-sibling::div[1]//tr")
        lines = (tmp_path / "numbers.csv").read_text().splitlines()
        assert len(lines) == table.count()
