"""The page in a real browser: self-contained, to scale, and no wider than the screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import opened, outside
from summaries import MIX, failed, mixed, stage_times, summary

from bench.report.run import render

pytestmark = pytest.mark.browser
LONG = "a-name-without-a-place-to-break" * 8


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    large = {**MIX, "decode": 118.0, "resize": 14.2}
    runs = [
        mixed(),
        summary(preprocess="dali", stages=stage_times(MIX, apportioned=("decode",))),
        summary(large, images="large", valid=False),
        summary(run=LONG, pipeline=LONG, images=LONG, place=LONG, machine=LONG),
        summary(run="<img src=http://localhost/x onerror=alert(1)>"),
        failed(),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(runs, format="html"), encoding="utf-8")
    return path


@pytest.fixture(params=[(1366, 768), (390, 844)], ids=["laptop", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Any]:
    """The open page, every table shown; what went wrong while it opened is in `page.faults`."""
    width, height = request.param
    with opened(browser, path, width=width, height=height) as shown:
        yield shown


def test_it_opens_by_itself(page: Any) -> None:
    assert page.faults == []
    assert "is not inference" in page.inner_text("h1")


def test_only_tables_scroll_sideways(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert outside(page, but=".scroll") == []


@pytest.mark.parametrize(
    ("name", "unit", "least", "rel"), [("latency", "", 0.1, 0.01), ("share", " %", 1, 0.06)]
)
def test_bars_are_to_scale(page: Any, name: str, unit: str, least: float, rel: float) -> None:
    """Pixels per unit of the table are the same in every bar, as far as the table is rounded."""
    bars = page.evaluate(
        """name => [...document.querySelectorAll(`[data-chart=${name}] .row:not(.axis)`)].map(row =>
           Object.fromEntries([...row.querySelectorAll('rect.stage')].map(rect =>
             [rect.dataset.stage, rect.getBoundingClientRect().width])))""",
        name,
    )
    table = page.locator(f"[data-table={name}]")
    heads = table.locator("thead th").all_inner_texts()[1:]
    rows = [
        [cell.replace("\xa0", " ") for cell in row.locator("td").all_inner_texts()]
        for row in table.locator("tbody tr").all()
    ]
    by_size = [0, 1, 4, 5, 2, 3]  # the charts group the runs by their images
    pixels_per_unit = []
    for bar, row in zip(bars, (rows[i] for i in by_size), strict=True):
        cells = dict(zip(heads, row, strict=True))
        for stage, pixels in bar.items():
            number = cells[stage].removesuffix(unit)
            if float(number.strip("<>")) >= least:
                pixels_per_unit.append(pixels / float(number))
    assert len(pixels_per_unit) > 8
    assert max(pixels_per_unit) == pytest.approx(min(pixels_per_unit), rel=rel)


def test_invalid_runs_are_unmistakable(page: Any) -> None:
    assert "2 of 6 runs INVALID" in page.inner_text(".alarm")
    assert page.locator("section.bad").count() == 2
    assert page.locator("[data-chart=latency] .badge.bad").count() == 2
    assert page.locator("[data-chart=latency] .veil").count() == 1


def test_bars_lead_to_their_runs(page: Any) -> None:
    page.click("[data-chart=share] a >> nth=1")
    assert page.evaluate("document.querySelector(':target h2').innerText").startswith(
        "[2] 2025-01-01"
    )
