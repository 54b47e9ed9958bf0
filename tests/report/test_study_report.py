"""What a study found, as tables and as a page."""

import csv
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from browser import opened, outside
from pages import Elements
from summaries import MIX, failed, stage_times, summary

from bench.ledger.grid.cells import Cell, cells_of
from bench.ledger.grid.found import Found, found_of
from bench.ledger.grid.study import find, with_values
from bench.ledger.quantiles import Quantile
from bench.ledger.sources.energy import Energy
from bench.ledger.summary import Latency, Summary
from bench.report.study.page import render
from bench.report.study.said import headline
from bench.report.study.tables import tables
from pipelines.topologies.names import TOPOLOGIES

HOSTILE = "<script>alert(1)</script>\x1b[31m|`@all`\u202e'\"{{ 7*7 }}"
PLACES = ("client", "server")
Made = tuple[Found, list[Summary]]


def ran(cell: Cell, **changes: Any) -> Summary:
    """A run: the more crops the slower, with a broker slower still; alone it is quick."""
    chosen = cell.settings
    ms = changes.pop("ms", 0) or (5.0 if chosen.alone else 10.0 + 5 * int(cell.at.get("fanout", 0)))
    ms += 20.0 * chosen.brokered
    latency = Latency(ms, 4 * ms, {})
    quantiles = {"p50": Quantile(ms, ms, ms, 10), "p99": Quantile(3 * ms, 2 * ms, 4 * ms, 500)}
    names = ("pipeline", "images", "preprocess", "place", "transport", "topology", "users")
    said: dict[str, Any] = {name: getattr(chosen, name) for name in names}
    said |= {"run": cell.name.replace(" ", "-"), "throughput_per_s": 4000 / ms}
    said |= {"crops": "raw", "broker_share": 0.25} if chosen.brokered else {}
    said["latency_ms"] = msgspec.structs.replace(latency, quantiles=quantiles)
    return summary(**said | changes)


def made(name: str, given: dict[str, str], *, rounds: int = 1, **changes: Any) -> Made:
    """What a study found whose runs are as `changes`, which may be of single cells, by name."""
    study = with_values(find(name)[1], given)
    cells = cells_of(study)
    own = {key: changes.pop(key) for key in [cell.name for cell in cells] if key in changes}
    runs: dict[str, Sequence[Summary]] = {
        cell.name: [ran(cell, **changes | own.get(cell.name, {}))] * rounds
        for cell in cells
        if own.get(cell.name, {}) is not None
    }
    found = found_of(name, study, cells, runs)
    by_run = {one.run: one for one in itertools.chain(*runs.values())}
    return found, [by_run[point.shown] for point in found.points]


def sweep(topologies: str, fanouts: str, **changes: Any) -> Made:
    return made("broker", {"topology": topologies, "fanout": fanouts}, **changes)


def overhead(**changes: Any) -> Made:
    return made("overhead", {"place": "client,server"}, **changes)


def block(text: str, title: str) -> list[list[str]]:
    """The table of that title, a list of cells a line; the second line is a rule."""
    found = next(part for part in text.split("\n\n") if part.startswith(title))
    return [line.split() for line in found.splitlines()[1:]]


def cells(text: str, title: str, fanout: int) -> list[str]:
    heads, _, *rows = block(text, title)
    row = next(row for row in rows if row[0] == str(fanout))
    assert len(row) == len(heads)
    return row[1:]


# Tables


def test_the_tables_hold_the_numbers() -> None:
    text = render(*sweep("direct,kafka", "0,6"), format="text")
    assert cells(text, "Throughput", 6) == ["100", "66.7"]
    assert cells(text, "Mean latency", 6) == ["40.0", "60.0"]
    assert cells(text, "Publish", 6) == ["25.0"]
    assert "AMD EPYC" in text
    assert "crops raw" in text


def test_three_tables_fit_a_hundred_columns_with_every_topology() -> None:
    found = sweep(",".join(TOPOLOGIES), "0..12", throughput_per_s=12345.6, valid=False)
    text = render(*found, format="text")
    assert max(map(len, text.splitlines())) <= 100
    for title, topologies in (
        ("Throughput, images/s", TOPOLOGIES),
        ("Mean latency, ms", TOPOLOGIES),
        ("Publish, broker and consume, % of the latency", TOPOLOGIES[2:]),
    ):
        heads, _, *rows = block(text, title)
        assert heads == ["fanout", *topologies]
        assert [row[0] for row in rows] == [str(fanout) for fanout in range(13)]


def test_a_measure_that_makes_sense_of_no_cell_has_no_table() -> None:
    found, shown = sweep("fused,direct", "0,2")
    assert [table.name for table in tables(found)] == ["throughput", "mean"]
    assert "roker, " not in render(found, shown, format="text").replace("Broker: ", "")


def test_a_whole_study_fits_a_hundred_columns_and_holds_every_point() -> None:
    found, shown = overhead(throughput_per_s=123456.0, valid=False)
    text = render(found, shown, format="text")
    assert max(map(len, text.splitlines())) <= 100
    assert len(re.findall(r"[\d)]!", text)) == 5 * len(shown)
    assert f"{len(shown)} of {len(shown)} runs INVALID" in text.replace("\n", " ")


@pytest.mark.parametrize("format", ["text", "md", "csv"])
def test_depth_is_said_to_be_untrained(format: str) -> None:
    text = render(*overhead(), format=format)
    named = text.count("pipeline=depth")
    assert text.count("depth") == text.count("depth (untrained)") + named > named


@pytest.mark.parametrize("format", ["text", "md"])
def test_invalid_points_are_marked_and_what_is_compared_with_them(format: str) -> None:
    alone = "pipeline=detection users=1 images=tensor place=none"
    given = {"pipeline": "detection", "place": "client", "images": "small", "users": "1,8"}
    text = render(*made("overhead", given, **{alone: {"valid": False}}), format=format)
    rows = [line for line in text.splitlines() if re.search(r"^\|? *[18] ", line)]
    assert [line.count("!") for line in rows[:4]] == [5, 1, 0, 0]
    assert "1 of 4 runs INVALID" in text.replace("\n", " ")


def test_marks_leave_the_digits_below_each_other() -> None:
    bad = {"fanout=2 topology=direct": {"valid": False, "throughput_per_s": 20.2}}
    found = sweep("direct", "1,2", throughput_per_s=10.1, **bad)
    lines = render(*found, format="text").splitlines()
    assert len({line.index(n) for n in ("10.1", "20.2") for line in lines if n in line}) == 1


@pytest.mark.parametrize("format", ["text", "md"])
def test_missing_points_are_dashes(format: str) -> None:
    found = render(*sweep("fused,kafka", "0,3", **{"fanout=3 topology=fused": None}), format=format)
    rows = [re.split(r"[\s|]+", line.strip("| ")) for line in found.splitlines()]
    assert ["3", "-", "88.9"] in rows
    assert ["3", "-", "45.0"] in rows


def test_csv_holds_the_points_in_full_and_names_their_runs() -> None:
    found, shown = overhead()
    table = list(csv.DictReader(io.StringIO(render(found, shown, format="csv"))))
    for row, point, run in zip(table, found.points, shown, strict=True):
        value = point.values["p99"]
        assert value is not None
        assert [float(row[f"p99{end}"]) for end in ("", "_low", "_high")] == [
            *(value.value, value.low, value.high),
        ]
        assert row["runs"].split() == point.runs
        assert float(row["decode_ms"]) == run.stages["decode"].mean_ms


def test_json_holds_everything() -> None:
    found, shown = overhead()
    assert msgspec.json.decode(render(found, shown, format="json"), type=Found) == found


def placed() -> Made:
    """Decoding takes three times as long beside inference, and inference as long as alone."""
    slow = {name: ms * (3 if name == "decode" else 1) for name, ms in MIX.items()}
    own = {f"users=4 work=both place={place}": {"stages": stage_times(slow)} for place in PLACES}
    return made("placement", {"users": "4", "place": "client,server"}, **own)


@pytest.mark.parametrize("format", ["text", "md"])
def test_what_a_stage_is_beside_the_other_part_is_a_multiple(format: str) -> None:
    text = render(*placed(), format=format)
    rows = [re.split(r"[\s|]+", line.strip("| ")) for line in text.splitlines()]
    (row,) = [row for row in rows if row[:2] == ["both", "client"]]
    assert row[-2:] == ["1.00", "3.00"]
    said = " ".join(text.split())
    assert "decode x: its decode ms over that of preprocessing, all else alike" in said
    assert max(map(len, text.splitlines())) <= 100 or format == "md"


def payload() -> Made:
    sizes = {"medium": 0.2, "1mp": 1.0, "2mp": 2.0, "4mp": 4.0, "large": 10.0}
    own: dict[str, Any] = {
        f"users=1 payload={name}": {"megapixels": size, "ms": 7 * size + 2}
        for name, size in sizes.items()
    }
    return made("payload", {"users": "1"}, **own)


def test_a_line_is_said_with_its_r2() -> None:
    found, shown = payload()
    text = render(found, shown, format="text")
    assert "Mean latency = 7.00 ms x megapixels + 2.00 ms, R² 1.00 (5 cells)" in text
    assert max(map(len, text.splitlines())) <= 100
    rows = list(csv.DictReader(io.StringIO(render(found, shown, format="csv"))))
    on, off = ([row for row in rows if row["payload"] == name] for name in ("4mp", "png"))
    assert float(on[0]["mean_slope"]) == pytest.approx(7)
    assert float(on[0]["mean_r2"]) == pytest.approx(1)
    assert off[0]["mean_slope"] == ""


def test_where_nothing_counts_energy_that_is_said_and_no_0() -> None:
    why = "x can be read by root only: run as root, or 'sudo chmod a+r x'"
    none = Energy(joules_per_image=None, watts={}, lacking={"package-0": why})
    given = {"images": "tensor,medium", "preprocess": "opencv", "place": "server"}
    found, shown = made("energy", given, energy=none)
    text = render(found, shown, format="text")
    assert headline(found) == "Energy an image: no counter"
    assert text.count("no counter ") >= 2
    assert f"no counter of energy for package-0: {why}" in " ".join(text.split())
    rows = list(csv.DictReader(io.StringIO(render(found, shown, format="csv"))))
    assert {row["energy"] for row in rows} == {""}
    counted = Energy(joules_per_image=0.25, watts={"package-0": 20.0}, lacking={})
    text = render(*made("energy", given, energy=counted), format="text")
    assert "0.250 J are used for an image" in text


def test_where_the_time_goes_is_said_of_a_few_cells() -> None:
    text = render(*made("demo", {"images": "small"}), format="text").replace("\n", " ")
    assert "opencv: 10.0 ms = 69 % inference" in re.sub(r" +", " ", text)
    assert "is not inference" not in render(*overhead(), format="text").split("\n\n", 2)[2]


def test_rounds_are_named_also_after_a_study_was_cut_short() -> None:
    assert "1 run a cell" in render(*sweep("direct", "1,2"), format="text")
    text = render(*sweep("direct", "1,2", rounds=3), format="text")
    assert "median of 3 runs a cell" in text.replace("\n", " ")


def test_the_headline_is_of_the_points_that_can_be_trusted() -> None:
    own = {"fanout=1 topology=memory": {"broker_share": 0.05}}
    bad = {"fanout=0 topology=memory": {"broker_share": 0.99, "valid": False}}
    assert headline(sweep("memory,kafka", "0,1", **own)[0]).startswith("5.00 to 25.0 % of the time")
    assert headline(sweep("memory,kafka", "0,1", **own | bad)[0]).startswith("5.00 to 25.0 %")
    assert "INVALID" in headline(sweep("kafka", "0,1", valid=False)[0])


def test_the_headline_of_a_comparison_is_what_it_comes_to() -> None:
    found, shown = made("overhead", {"images": "small,large", "place": "client", "users": "1"})
    assert headline(found) == "50.0 % of the throughput of inference alone comes through"
    assert "preprocess dali" in render(found, shown, format="text")


def test_nothing_succeeded_and_nothing_to_show_are_said() -> None:
    study = with_values(find("demo")[1], {"images": "small", "preprocess": "dali"})
    (cell,) = cells_of(study)
    found = found_of("demo", study, [cell], {cell.name: [failed()]})
    assert headline(found) == "INVALID: no number here can be trusted"
    assert render(found, [failed()], format="text").count("-") > 3


def test_a_hostile_name_is_only_text() -> None:
    found, shown = sweep("direct", "1,2", machine=HOSTILE, preprocess=HOSTILE)
    found = msgspec.structs.replace(
        found,
        title=HOSTILE,
        question=HOSTILE,
        note=HOSTILE,
        failed={HOSTILE: HOSTILE},
        lacking=[HOSTILE],
        points=[
            msgspec.structs.replace(point, at={"fanout": "1", "topology": HOSTILE})
            for point in found.points
        ],
    )
    for format in ("text", "md", "csv"):
        text = render(found, shown, format=format)
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert "<script" not in render(found, shown, format="md").replace("\\<", "")
    assert max(map(len, render(found, shown, format="text").splitlines())) <= 100


# The page


def page_of(found: Found, shown: Sequence[Summary]) -> str:
    return render(found, shown, format="html")


def test_every_picture_has_its_table_with_the_same_numbers() -> None:
    found = sweep("fused,kafka", "0,4", **{"fanout=4 topology=kafka": {"valid": False}})
    elements = Elements(page_of(*found))
    pictures = [value for name, value in elements.attributes if name == "data-chart"]
    assert pictures[:3] == ["broker", "throughput", "mean"]
    text = render(*found, format="text")
    for name, title in zip(pictures[:3], ("Publish", "Throughput", "Mean"), strict=True):
        heads, _, *rows = block(text, title)
        assert elements.tables[str(name)] == [*heads, *itertools.chain(*rows)]


def test_bars_have_their_tables_and_all_cells_are_listed() -> None:
    found = overhead()
    elements = Elements(page_of(*found))
    assert {"latency", "share", "cells", "runs"} <= elements.tables.keys()
    assert elements.tables["runs"][4::4] == [one.run for one in found[0].runs]
    (whole,) = tables(found[0])
    assert elements.tables["cells"] == [*whole.heads, *itertools.chain(*whole.rows)]


def test_the_page_lists_every_run_with_its_verdict() -> None:
    bad = {"fanout=1 topology=direct": {"valid": False}}
    listed = Elements(page_of(*sweep("direct", "0,1", **bad))).tables["runs"][4:]
    assert [listed[1::4], listed[3::4]] == [
        ["fanout=0 topology=direct", "fanout=1 topology=direct"],
        ["yes", "INVALID"],
    ]


def test_hostile_names_are_escaped_in_the_page() -> None:
    plain = sweep("direct", "1,2")
    found, shown = sweep("direct", "1,2", machine=HOSTILE, preprocess=HOSTILE, run=HOSTILE)
    shown = [msgspec.structs.replace(one, images=HOSTILE) for one in shown]
    found = msgspec.structs.replace(
        found, title=HOSTILE, question=HOSTILE, failed={HOSTILE: HOSTILE}, note=HOSTILE
    )
    plain[0].failed["x"] = "y"
    elements = Elements(page_of(found, shown))
    tags = set(Elements(page_of(msgspec.structs.replace(plain[0], note="n"), plain[1])).tags)
    assert set(elements.tags) <= tags
    assert not any(re.search("[\x1b\u202e]", cell) for cell in elements.tables["runs"])


def test_an_axis_more_has_pictures_of_its_own() -> None:
    given = {"users": "1,4", "images": "small,large"}
    found, shown = made("concurrency", given)
    assert [one.heads for one in tables(found)] == [["users", "small", "large"]] * 4
    lone = made("concurrency", given | {"images": "small"})
    assert tables(lone[0])[0].heads == ["users", "images/s"]
    grouped = msgspec.structs.replace(found, columns="")
    assert [one.title for one in tables(grouped)][:2] == [
        "Throughput, small, images/s",
        "Throughput, large, images/s",
    ]
    assert page_of(grouped, shown).count('data-chart="throughput-') == 2


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["broker", "overhead"])
def test_the_page_opens_by_itself_and_fits_the_screen(
    browser: Any, tmp_path: Path, width: int, name: str
) -> None:
    long = "a-name-without-a-place-to-break" * 8
    given = {"broker": {"topology": ",".join(TOPOLOGIES)}, "overhead": {"place": "client"}}
    bad = {"fanout=2 topology=kafka": {"valid": False, "run": HOSTILE}}
    found, shown = made(name, given[name], machine=long, **(bad if name == "broker" else {}))
    path = tmp_path / "study.html"
    path.write_text(page_of(found, shown), encoding="utf-8")
    with opened(browser, path, width=width, height=800) as page:
        assert page.faults == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert outside(page, but=".scroll, .defs") == []
        drawn = page.evaluate(
            """[...document.querySelectorAll('[data-chart] path, [data-chart] .stage')].map(it =>
               it.getBoundingClientRect().width)"""
        )
    assert len(drawn) > 100
    assert max(drawn) > 5
