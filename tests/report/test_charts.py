"""Pictures: their numbers are those of the records, and they are harmless wherever they are put."""

import itertools
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import altair as alt
import msgspec
import numpy as np
import pytest
from browser import opened
from drawn import (
    HOSTILE,
    WARM_UP_S,
    WINDOW_S,
    a_curve,
    a_search,
    a_study,
    a_table,
    made_up,
    run_folder,
    some_bars,
)
from experiments import S, manifest, request, write_run
from processes import ROOT, run

from bench.ledger.details.distribution import MOST_POINTS, distribution, distribution_of
from bench.ledger.details.examples import SLOWEST, Details, details
from bench.ledger.reading import read
from bench.ledger.units import number, quantile
from bench.predict.curve import Curve
from bench.record import records
from bench.record.records import Sample
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import (
    colours,
    course,
    curves,
    drawing,
    look,
    stacked,
    waterfall,
)
from bench.report.document.charts import distribution as spread
from pipelines.spans import Request


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Details:
    return details(read(run_folder(tmp_path_factory.mktemp("charts") / "run")))


@pytest.fixture(scope="module")
def curve() -> Curve:
    return a_curve()


@pytest.fixture(scope="module")
def measured() -> list[Request]:
    """The requests that count, by the records alone."""
    start = (5 + WARM_UP_S) * S
    return [one for one in made_up() if one.error is None and one.due_ns >= start]


def took(one: Request) -> float:
    return (one.end_ns - one.due_ns) / 1e6


def column(table: Table, head: str) -> list[str]:
    return [row[list(table.heads).index(head)] for row in table.rows]


def test_quantiles_are_those_of_the_records(found: Details, measured: list[Request]) -> None:
    assert found.distribution
    chart = spread.latency({"a run": found.distribution})
    values = [took(one) for one in measured]
    told = {row[0]: row[1] for row in chart.table.rows}
    assert told["least"] == number(min(values))
    assert told["most"] == number(max(values))
    assert told["requests"] == f"{len(values):,}"
    assert told["p50"].split()[0] == number(float(np.quantile(values, 0.5)))
    assert told["p99"].split()[0] == number(float(np.quantile(values, 0.99)))
    assert told["p99.9"] == "too few: needs 5,000"


@pytest.mark.parametrize("count", [1, 7, MOST_POINTS, 20_000])
def test_a_distribution_is_of_latencies_that_were_measured(count: int) -> None:
    latency_ns = np.random.default_rng(1).lognormal(16, 1, count).astype(np.int64)
    told = distribution(latency_ns)
    assert told
    assert len(told.slower) <= MOST_POINTS
    assert (told.slower[0], told.slower[-1]) == (count, 1)
    for slower, ms in zip(told.slower, told.latency_ms, strict=True):
        assert int((latency_ns / 1e6 >= ms).sum()) == slower


def test_of_no_request_there_is_nothing_to_draw(tmp_path: Path) -> None:
    failed = [request(1, 5 * S, {"decode": 1.0}, error="no")]
    reading = read(write_run(tmp_path / "run", manifest(), failed))
    nothing = details(reading)
    assert (nothing.distribution, nothing.course, nothing.median) == (None, None, None)
    assert waterfall.waterfall(nothing) is None
    assert distribution_of(reading) is None


def test_the_slowest_and_the_median_are_those_of_the_records(
    found: Details, measured: list[Request]
) -> None:
    chart = waterfall.waterfall(found)
    assert chart
    ids = column(chart.table, "id")
    slowest = sorted(measured, key=took, reverse=True)
    assert len(ids) == 1 + SLOWEST
    by_id = {one.id: one for one in measured}
    assert [took(by_id[one]) for one in ids[1:]] == [took(one) for one in slowest[:SLOWEST]]
    assert took(by_id[ids[0]]) == pytest.approx(np.median([took(one) for one in measured]), abs=0.1)
    assert column(chart.table, "ms") == [number(took(by_id[one])) for one in ids]
    spans = {span.stage: (span.end_ns - span.start_ns) / 1e6 for span in by_id[ids[1]].spans}
    assert column(chart.table, "decode")[1] == number(spans["decode"])


def test_a_run_over_time_is_that_of_the_records(found: Details) -> None:
    assert found.course
    table = course.course(found.course).table
    made = made_up()
    start = (5 + WARM_UP_S) * S
    for row in range(1, WARM_UP_S + WINDOW_S - 1):
        low = start + (int(table.rows[row][0])) * S
        told = dict(zip(table.heads, table.rows[row], strict=True))
        due = [one for one in made if low <= one.due_ns < low + S]
        answered = [one for one in made if not one.error and low <= one.end_ns < low + S]
        latencies = [took(one) for one in due if not one.error]
        assert told["due"] == number(len(due))
        assert told["failed"] == number(sum(one.error is not None for one in due))
        assert told["answered"] == number(len(answered))
        assert told["median"] == number(median(latencies))
        assert told["slowest"] == number(max(latencies))
        assert told["mean"] == number(9.0)  # each nanosecond the one had 3 in flight, the other 6
        assert told["machine, cores"] == number(1.5)
        assert told["server, cores"] == number(0.75 if low < 12 * S else 0.5)
        assert told["server, MiB"] == number(150 if low < 13 * S else 100)
    assert max(map(float, column(table, "most at once"))) <= 8


def test_memory_is_known_in_each_second_though_samples_lie_further_apart(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", manifest(window_end_ns=20 * S), made_up())
    samples = [
        Sample(5 * S + at * 1_150_000_000, "server", 7, at / 2, memory_bytes=1 << 20)
        for at in range(12)
    ]
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in samples)
    (folder / records.SAMPLES).write_bytes(lines)
    found = details(read(folder)).course
    assert found
    held = found.memory_bytes["server"]
    known = [at for at, value in enumerate(held) if value is not None]
    assert len(known) >= 12
    assert known == list(range(known[0], known[-1] + 1))


def test_what_happened_at_a_moment_is_marked(found: Details) -> None:
    assert found.course
    said = course.course(found.course).said
    assert "the clock was set by +40.0 s at 5.00 s" in said
    assert "a process of the server ended at 5.00 s" in said


def test_an_old_run_says_what_it_has_no_record_of(tmp_path: Path) -> None:
    reading = read(write_run(tmp_path / "run", manifest(window_end_ns=20 * S), made_up()))
    told = details(reading).course
    assert told
    chart = course.course(told)
    assert "no record of how many requests were in flight, nor of CPU time, nor of memory" in (
        chart.said
    )
    assert list(chart.table.heads) == ["from s", "due", "answered", "failed", "slowest", "median"]
    assert len(chart.draw(1080).to_dict()["vconcat"]) == 2


@pytest.fixture(scope="module")
def all_charts(found: Details, curve: Curve) -> list[Chart]:
    """Every picture, with names that are to be feared where a name can be."""
    assert found.distribution
    assert found.course
    several = {HOSTILE: found.distribution, HOSTILE + "2": found.distribution}
    slow = waterfall.waterfall(found)
    assert slow
    return [
        spread.latency({"a run": found.distribution}, name="one"),
        spread.latency(several, name="several"),
        slow,
        course.course(found.course),
        curves.throughput(curve, a_table("throughput")),
        curves.latency(curve, a_table("latency")),
        curves.tradeoff(curve, a_table("tradeoff")),
        curves.probes(a_search(), "p99", a_table("p99")),
        a_study(["direct", "kafka", HOSTILE]),
        stacked.stacked(some_bars()),
    ]


@pytest.fixture(scope="module")
def drawn(all_charts: list[Chart]) -> list[str]:
    widths = (drawing.WIDE, drawing.NARROW)
    return [drawing.svg(chart, width) for chart in all_charts for width in widths]


def test_curves_searches_and_studies_are_drawn_from_their_numbers(curve: Curve) -> None:
    for chart, values in (
        (curves.throughput(curve, a_table("a")), [p.throughput_per_s for p in curve.points]),
        (curves.latency(curve, a_table("b")), [_told(p.quantiles["p99"]) for p in curve.points]),
        (curves.probes(a_search(), "p99", a_table("c")), [20.0, 48.0]),
        (a_study(["direct", "kafka"]), [100.0, 20.0, 101.0, 21.0]),
    ):
        assert set(values) <= set(_drawn_values(chart)), chart.title


def _told(one: Any) -> float:
    return float(one.value)


def _drawn_values(chart: Chart) -> list[float]:
    return [
        row["value"]
        for rows in chart.draw(1080).to_dict()["datasets"].values()
        for row in rows
        if row.get("value") is not None
    ]


def test_each_picture_is_one_that_vega_lite_knows(all_charts: list[Chart]) -> None:
    for chart, width in itertools.product(all_charts, (drawing.WIDE, drawing.NARROW)):
        chart.draw(width).to_dict(validate=True)


def test_a_picture_is_inert(drawn: list[str]) -> None:
    for svg in drawn:
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        for one in root.iter():
            assert one.tag.rpartition("}")[2] in (
                *("svg", "g", "path", "line", "rect", "text", "title", "defs", "clipPath"),
            )
            assert not [name for name in one.attrib if name.startswith("on") or "href" in name]
        assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_hostile_names_are_spelt_out_and_cut(drawn: list[str]) -> None:
    seen = [one.text or "" for svg in drawn for one in ET.fromstring(svg).iter() if one.text]
    assert any("<script>" in text for text in seen)
    assert not [text for text in seen if re.search("[\x00-\x1f\u202e]", text)]
    words = [
        text.text or ""
        for svg in drawn
        for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert max(map(len, words)) <= look.LONGEST


def test_names_stay_different_when_they_are_cut() -> None:
    cut = look.names(["x" * 90, "x" * 91, "x" * 92, "y"], most=20)
    assert len(set(cut)) == 4
    assert max(map(len, cut)) <= 20


def test_the_same_chart_is_the_same_bytes(all_charts: list[Chart], drawn: list[str]) -> None:
    again = [drawing.svg(chart, width) for chart in all_charts for width in (1080, 340)]
    assert again == drawn
    assert drawing.png(all_charts[0]) == drawing.png(all_charts[0])


def test_pictures_are_small_and_share_nothing_in_a_page(drawn: list[str]) -> None:
    for svg in drawn:
        assert len(svg) < 60_000
        assert not [one.attrib for one in ET.fromstring(svg).iter() if "id" in one.attrib]
        assert "url(" not in svg


@pytest.mark.parametrize(
    "name", ["\x00", "\x1b[31m", "\ufffe", "\ud800", "\U0001f600" * 300, "e\u0301" * 300, "\n", ""]
)
def test_any_name_can_be_drawn(name: str) -> None:
    chart = a_study(["direct", name])
    for drawn in (drawing.svg(chart, drawing.NARROW), drawing.slide(replace(chart, title=name))):
        ET.fromstring(drawn)
        assert len(drawn) < 20_000


def test_a_control_character_that_a_picture_forgot_is_harmless() -> None:
    drawn = alt.Chart(alt.InlineData([{"a": "\x00\x1b"}])).mark_bar().encode(y="a:N")
    chart = replace(a_study(["direct"]), draw=lambda _: drawn)
    assert r"\x00\x1b" in drawing.svg(chart, drawing.WIDE)  # it would end the process


def test_a_page_can_be_dark_and_a_slide_is_light(all_charts: list[Chart]) -> None:
    for chart in all_charts:
        page, slide = drawing.svg(chart, 1080), drawing.slide(chart)
        assert "var(--ink, #1b2230)" in page
        assert "var(" not in slide
        assert colours.CARD in slide
        assert look.cut(chart.title, most=20)[:15] in ET.tostring(
            ET.fromstring(slide), "unicode", "text"
        )
        assert drawing.png(chart, 400, scale=1).startswith(b"\x89PNG")


def test_colours_are_those_of_the_page() -> None:
    css = (ROOT / "bench/report/document/templates/page.css").read_text()
    named = dict(reversed(re.findall(r"--(\w+): (#\w+)", css)))  # the first, by day, counts
    for colour, name in colours.NAMED.items():
        assert len(re.findall(rf"--{name}: ", css)) == 2, f"{name}, by day and by night"
        assert colour in (named[name], "#ffffff"), name


def test_what_draws_nothing_does_not_wait_for_the_library() -> None:
    rooms = (ROOT / "bench" / "report" / "document" / "charts").glob("[a-z]*.py")
    imports = "; ".join(f"import bench.report.document.charts.{one.stem}" for one in rooms)
    asked = f"import sys; {imports}; print({{'altair', 'vl_convert'}} & set(sys.modules))"
    assert run((sys.executable, "-c", asked)).stdout.strip() == "set()"


@pytest.fixture(scope="module", params=[1280, 390], ids=["laptop", "phone"])
def page(
    request: pytest.FixtureRequest,
    browser: Any,
    tmp_path_factory: pytest.TempPathFactory,
    all_charts: list[Chart],
) -> Iterator[Any]:
    width = drawing.WIDE if request.param > 600 else drawing.NARROW
    path = tmp_path_factory.mktemp("page") / "charts.html"
    body = "".join(f"<div>{drawing.svg(chart, width)}</div>" for chart in all_charts)
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width'>"
    path.write_text(f"<!doctype html>{head}{body}", encoding="utf-8")
    with opened(browser, path, width=request.param, height=900) as shown:
        yield shown


@pytest.mark.browser
def test_words_do_not_lie_on_each_other(page: Any) -> None:
    assert page.faults == []
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('svg')].flatMap(svg => {
             const all = [...svg.querySelectorAll('text')].map(it => [it.textContent,
               it.getBoundingClientRect()]).filter(([text]) => text);
             return all.flatMap(([one, a], i) => all.slice(i + 1).filter(([, b]) =>
               Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
               Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
               .map(([other]) => `${one} | ${other}`));
           })"""
    )
    assert overlaps == []


def test_intervals_are_told_with_quantiles(found: Details) -> None:
    assert found.distribution
    chart = spread.latency({"a run": found.distribution})
    assert quantile(found.distribution.quantiles["p50"]) in column(chart.table, "ms")
