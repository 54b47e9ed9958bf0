"""The sweep of a chain's fan-out: what runs in which order, and what its tables and page show."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from browser import opened, outside
from made_up import MadeUp
from pages import Elements
from processes import refused
from summaries import failed, summary

from bench.commands.measuring import sweep as command
from bench.commands.measuring.sweep import fanouts_of
from bench.ledger.grid import Sweep, images_with, sweep_of
from bench.ledger.summary import Latency, Summary
from bench.record.scenario import Settings
from bench.report.grid import FORMATS, render, tables
from bench.report.sweep_page import BOTTOM, TOP, headline, picture, render_page
from pipelines.errors import ServerError, VisiontaxError
from pipelines.topologies.scenario import TOPOLOGIES

HOSTILE = "<script>alert(1)</script>\x1b[31m|`@all`\u202e'\"{{ 7*7 }}"


def run(fanout: int, topology: str = "direct", /, **changes: Any) -> Summary:
    """A run of the chain `faces`: the more crops the slower, and with a broker slower still."""
    brokered = topology not in ("fused", "direct")
    ms = changes.pop("ms", 10.0 + 5 * fanout + (20 if brokered else 0))
    shown: dict[str, Any] = {
        "run": f"{fanout}-{topology}",
        "pipeline": "faces",
        "images": f"faces-{fanout}",
        "topology": topology,
        "crops": "raw" if brokered else None,
        "broker_share": 0.25 if brokered else None,
        "throughput_per_s": 4000 / ms,
        "latency_ms": Latency(mean=ms, p50=ms, p90=ms, p95=ms, p99=3 * ms, max=4 * ms),
    }
    return summary(**shown | changes)


def whole(
    topologies: Sequence[str] = TOPOLOGIES, fanouts: Sequence[int] = range(13)
) -> list[Summary]:
    return [run(fanout, name) for fanout in fanouts for name in topologies]


# What is asked for


@pytest.mark.parametrize(
    ("text", "fanouts"),
    [
        ("0..12", list(range(13))),
        ("0,1,2,4,8", [0, 1, 2, 4, 8]),
        ("12, 0..2,1,4..5", [0, 1, 2, 4, 5, 12]),
        ("3", [3]),
        ("3..3", [3]),
    ],
)
def test_fanouts_are_ranges_numbers_or_both(text: str, fanouts: list[int]) -> None:
    assert fanouts_of(text) == fanouts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("many", "not a fan-out: 'many'"),
        ("-1", "not a fan-out: '-1'"),
        ("1..", "not a fan-out: '1..'"),
        ("1.5", "not a fan-out: '1.5'"),
        ("13", "no images with 13 regions; fan-outs are 0 to 12"),
        ("0..99", "no images with 99 regions"),
        ("4..2", "the range 4..2 descends; write 2..4"),
        ("", "there is no fan-out"),
        (" , ", "there is no fan-out"),
    ],
)
def test_what_is_no_fanout_is_a_usage_error_with_its_cure(text: str, words: str) -> None:
    refused("sweep", "faces", f"--fanout={text}", code=2, words=words)


def test_only_chains_have_a_fanout() -> None:
    refused("sweep", "classification", code=2, words="'classification' is not one of")


def test_the_seed_decides_the_order(made_up: MadeUp) -> None:
    orders = []
    for seed in ("1", "1", "2"):
        made_up.invoke("--topology", ",".join(TOPOLOGIES), "--seed", seed)
        chosen = [plan.settings for plan in made_up.plans]
        orders.append([(one.images, one.topology) for one in chosen])
        assert len(list(itertools.groupby(chosen, key=lambda one: one.images))) == 13
    assert orders[0] == orders[1] != orders[2]
    for position, known in enumerate((made_up.built, TOPOLOGIES)):
        met = list(dict.fromkeys(point[position] for point in orders[0]))
        assert set(met) == set(known)
        assert met != list(known), "not shuffled"


# What was found


def test_the_numbers_are_medians_over_the_rounds() -> None:
    found = sweep_of([run(4, "kafka", ms=ms, broker_share=ms / 1000) for ms in (100, 200, 800)])
    (point,) = found.points
    assert (point.fanout, point.topology, point.runs) == (4, "kafka", 3)
    assert (point.mean_ms, point.p99_ms, point.broker_share) == (200, 600, 0.2)
    assert (point.throughput_per_s, point.crops_per_s) == (20, 80)


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = whole(fanouts=(0, 10, 2))
    found, reversed_ = sweep_of(runs), sweep_of(runs[::-1])
    assert found.fanouts == [0, 2, 10]
    assert tuple(found.topologies) == TOPOLOGIES
    assert msgspec.structs.replace(reversed_, runs=found.runs) == found


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "there are none"),
        ([summary(images="faces-4")], "do not tell the fan-out"),
        ([run(4, images="medium")], "do not tell the fan-out"),
        ([run(4, images="text-4")], "do not tell the fan-out"),
        ([run(4), run(4, users=9)], "users is not one: 4, 9"),
        ([run(4), run(4, machine="another")], "machine is not one"),
        ([run(4, "kafka"), run(4, "memory", crops="jpeg")], "crops is not one: jpeg, raw"),
    ],
)
def test_runs_that_do_not_belong_together_are_no_sweep(runs: list[Summary], words: str) -> None:
    with pytest.raises(VisiontaxError, match=words):
        sweep_of(runs)


def test_a_point_in_which_every_request_failed_has_no_latency() -> None:
    lost = failed(pipeline="faces", images="faces-2", topology="kafka", crops="raw")
    found = sweep_of([run(2), lost])
    point = found.point(2, "kafka")
    assert point is not None
    assert (point.valid, point.throughput_per_s, point.mean_ms) == (False, 0, None)
    assert cells(render(found, format="text"), "Mean latency", 2) == ["20.0", "-"]


# Tables


def block(text: str, title: str) -> list[list[str]]:
    """The table of that title, a list of cells a line; the second line is a rule."""
    found = next(part for part in text.split("\n\n") if part.startswith(title))
    return [line.split() for line in found.splitlines()[1:]]


def cells(text: str, title: str, fanout: int) -> list[str]:
    heads, _, *rows = block(text, title)
    row = next(row for row in rows if row[0] == str(fanout))
    assert len(row) == len(heads)
    return row[1:]


def test_three_tables_fit_a_hundred_columns_with_every_topology() -> None:
    runs = [
        run(fanout, name, throughput_per_s=12345.6, valid=False)
        for fanout, name in itertools.product(range(13), TOPOLOGIES)
    ]
    text = render(sweep_of(runs), format="text")
    assert max(map(len, text.splitlines())) <= 100
    for title, topologies in (
        ("Throughput, images/s", TOPOLOGIES),
        ("Mean latency, ms", TOPOLOGIES),
        ("Publish, broker and consume, % of the latency", TOPOLOGIES[2:]),
    ):
        heads, _, *rows = block(text, title)
        assert heads == ["fan-out", *topologies]
        assert [row[0] for row in rows] == [str(fanout) for fanout in range(13)]


def test_the_tables_hold_the_numbers() -> None:
    text = render(sweep_of(whole(["direct", "kafka"], [0, 6])), format="text")
    assert cells(text, "Throughput", 6) == ["100", "66.7"]
    assert cells(text, "Mean latency", 6) == ["40.0", "60.0"]
    assert cells(text, "Publish", 6) == ["25.0"]
    assert "AMD EPYC" in text
    assert "crops raw" in text


def test_the_share_of_the_broker_is_left_out_where_there_is_none() -> None:
    found = sweep_of(whole(["fused", "direct"]))
    assert [table.measure.name for table in tables(found)] == ["throughput", "latency"]
    assert "roker" not in render(found, format="text") + headline(found)


def test_marks_leave_the_digits_below_each_other() -> None:
    runs = [run(1, throughput_per_s=10.1), run(2, throughput_per_s=20.2, valid=False)]
    lines = render(sweep_of(runs), format="text").splitlines()
    assert len({line.index(n) for n in ("10.1", "20.2") for line in lines if n in line}) == 1


@pytest.mark.parametrize("format", ["text", "md"])
def test_missing_points_are_dashes(format: str) -> None:
    found = render(sweep_of([run(0, "fused"), run(0, "kafka"), run(3, "kafka")]), format=format)
    rows = [re.split(r"[\s|]+", line.strip("| ")) for line in found.splitlines()]
    assert ["3", "-", "88.9"] in rows
    assert ["3", "-", "45.0"] in rows


@pytest.mark.parametrize("format", ["text", "md"])
def test_invalid_points_are_marked_and_only_those(format: str) -> None:
    runs = [run(2), run(2, valid=False), run(3), run(3, "kafka")]
    found = render(sweep_of(runs), format=format)
    assert "1 of 4 runs INVALID" in found.replace("\n", " ")
    assert len(re.findall(r"\d!", found)) == 2, "a throughput and a latency"
    good = render(sweep_of([run(2), run(3)]), format=format)
    assert "INVALID" not in good
    assert "!" not in good


def test_json_holds_what_the_tables_do_and_more() -> None:
    found = sweep_of([*whole(["direct", "kafka"]), run(1, valid=False)])
    assert msgspec.json.decode(render(found, format="json"), type=Sweep) == found


def test_rounds_are_named_also_after_a_sweep_was_cut_short() -> None:
    assert "1 run a point" in render(sweep_of([run(1), run(2)]), format="text")
    text = render(sweep_of([run(1), run(1), run(1), run(2), run(2)]), format="text")
    assert "median of 2 to 3 runs a point" in text.replace("\n", " ")


def test_a_hostile_name_is_only_text() -> None:
    runs = [run(1, machine=HOSTILE), run(1, HOSTILE, machine=HOSTILE, run=HOSTILE)]
    found = sweep_of(runs)
    for format in ("text", "md"):
        text = render(found, format=format)
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert "<script" not in render(found, format="md").replace("\\<", "")
    assert max(map(len, render(found, format="text").splitlines())) <= 100


# The page


def test_every_picture_has_its_table_with_the_same_numbers() -> None:
    found = sweep_of([*whole(["fused", "kafka"], [0, 4]), run(2, "kafka", valid=False)])
    elements = Elements(render_page(found))
    pictures = [value for name, value in elements.attributes if name == "data-chart"]
    assert pictures == ["throughput", "latency", "broker"]
    text = render(found, format="text")
    for name, title in zip(pictures, ("Throughput", "Mean", "Publish"), strict=True):
        heads, _, *rows = block(text, title)
        assert elements.tables[str(name)] == [*heads, *itertools.chain(*rows)]
    assert "-" in elements.tables["throughput"]


def test_the_page_lists_every_run_with_its_verdict() -> None:
    elements = Elements(render_page(sweep_of([run(0), run(1, valid=False)])))
    listed = elements.tables["runs"][5:]
    assert [listed[0::5], listed[4::5]] == [["0-direct", "1-direct"], ["yes", "INVALID"]]


def test_hostile_names_are_escaped_in_the_page() -> None:
    runs = [
        run(1, name, machine=HOSTILE, preprocess=HOSTILE, place=HOSTILE, run=HOSTILE)
        for name in ("direct", HOSTILE)
    ]
    elements, plain = (Elements(render_page(sweep_of(shown))) for shown in (runs, whole()))
    assert set(elements.tags) == set(plain.tags)
    assert {name for name, _ in elements.attributes} == {name for name, _ in plain.attributes}
    assert not any(re.search("[\x1b\u202e]", cell) for cell in elements.tables["runs"])


def test_lines_are_to_scale_from_zero_and_stop_where_a_point_is_missing() -> None:
    runs = [run(fanout, ms=100.0 * fanout) for fanout in (1, 2, 8, 10)] + [run(4, "kafka")]
    drawn = picture(next(t for t in tables(sweep_of(runs)) if t.measure.name == "latency"))
    line = drawn.lines[0]
    assert [mark.x for mark in line.marks] == [10, 20, 80, 100]
    assert drawn.down[0] == (BOTTOM, "0")
    assert drawn.down[-1] == (TOP, "1000")
    heights = [BOTTOM - mark.y for mark in line.marks]
    assert heights == pytest.approx([(BOTTOM - TOP) * part for part in (0.1, 0.2, 0.8, 1)])
    assert [(one.x, other.x) for one, other in line.joined] == [(10, 20), (80, 100)]


def test_topologies_differ_without_colour_too() -> None:
    page = render_page(sweep_of(whole()))
    looks = {name: re.search(rf'id="m-{name}"([^/]+)', page) for name in TOPOLOGIES}
    assert all(looks.values())
    assert len({found[1] for found in looks.values() if found}) == len(TOPOLOGIES)


def test_the_headline_is_of_the_points_that_can_be_trusted() -> None:
    runs = [run(0, "kafka"), run(1, "memory", broker_share=0.05)]
    assert headline(sweep_of(runs)).startswith("5.0 % to 25.0 % ")
    wrong = run(2, "kafka", broker_share=0.99, valid=False)
    assert headline(sweep_of([*runs, wrong])).startswith("5.0 % to 25.0 % ")
    assert "INVALID" in headline(sweep_of([wrong]))


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_by_itself_and_fits_the_screen(
    browser: Any, tmp_path: Path, width: int
) -> None:
    long = "a-name-without-a-place-to-break" * 8
    runs = [msgspec.structs.replace(each, machine=long) for each in whole()]
    runs += [run(2, name, machine=long, run=long, valid=False) for name in ("kafka", long, HOSTILE)]
    path = tmp_path / "sweep.html"
    path.write_text(render_page(sweep_of(runs)), encoding="utf-8")
    with opened(browser, path, width=width, height=800) as page:
        assert page.faults == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert outside(page, but=".scroll, .defs") == []
        drawn = page.evaluate(
            """[...document.querySelectorAll('[data-chart=throughput] use')].map(it =>
               it.getBoundingClientRect().width)"""
        )
    assert len(drawn) > 13 * len(TOPOLOGIES)
    assert min(drawn) > 5, "a symbol is not drawn"


# The command, its runs made up


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeUp:
    def summary_of(chosen: Settings, folder: str) -> Summary:
        return run(int(chosen.images.removeprefix("faces-")), str(chosen.topology), run=folder)

    it = MadeUp(monkeypatch, ["sweep", "faces"], tmp_path, summary_of)
    monkeypatch.setattr(command, "need_images", it.build)
    return it


def test_it_makes_every_run_and_leaves_a_page(made_up: MadeUp, tmp_path: Path) -> None:
    found = made_up.invoke("--fanout", "0,2", "--topology", "fused,kafka", "--rounds", "2")
    assert found.return_value == 0
    assert sorted(made_up.built) == ["faces-0", "faces-2"]
    assert len(made_up.plans) == 8
    assert cells(found.stdout, "Throughput", 2) == ["200", "100"]
    (page,) = tmp_path.glob("sweep-faces-*.html")
    assert str(page) in found.stderr
    assert found.stderr.count("results: ") == 8


def test_settings_reach_every_run(made_up: MadeUp) -> None:
    made_up.invoke(
        *("--fanout", "1", "--topology", "kafka,kafka", "--crops", "jpeg", "--users", "7"),
        *("--workers", "2,3", "--batch", "5", "--duration", "9s", "--warmup", "3s"),
        *("--preprocess", "dali", "--place", "client", "--transport", "grpc", "--seed", "11"),
    )
    (plan,) = made_up.plans
    chosen = plan.settings
    assert (plan.duration_s, chosen.warmup_s, chosen.users, chosen.seed) == (9, 3, 7, 11)
    assert (chosen.crops, chosen.workers, chosen.batch) == ("jpeg", (2, 3), 5)
    assert (chosen.preprocess, chosen.place, chosen.transport) == ("dali", "client", "grpc")
    assert chosen.images == images_with("faces", 1)


def test_an_invalid_run_makes_the_exit_code_4(made_up: MadeUp) -> None:
    made_up.invalid = frozenset({"kafka"})
    found = made_up.invoke("--fanout", "0,2", "--topology", "fused,kafka")
    assert found.return_value == 4
    assert "2 of 4 runs INVALID" in found.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    "fault", [KeyboardInterrupt(), ServerError("Triton stopped answering")], ids=["Ctrl-C", "fail"]
)
def test_what_was_measured_until_it_was_cut_short_is_shown(
    made_up: MadeUp, tmp_path: Path, fault: BaseException
) -> None:
    made_up.fail_at = (3, fault)
    found = made_up.invoke("--fanout", "0,2,4", "--topology", "fused,kafka")
    assert found.exception is not None
    assert len(re.findall(r"\d\d\.\d|\d{3}", "\n".join(map(str, block(found.stdout, "Thr"))))) == 3
    assert found.stderr.count("results: ") == 3
    assert list(tmp_path.glob("sweep-faces-*.html"))


def test_cut_short_before_anything_was_measured_nothing_is_shown(
    made_up: MadeUp, tmp_path: Path
) -> None:
    made_up.fail_at = (0, ServerError("Triton stopped answering"))
    found = made_up.invoke("--fanout", "0", "--topology", "fused")
    assert isinstance(found.exception, ServerError)
    assert not found.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_offered(made_up: MadeUp, format: str) -> None:
    found = made_up.invoke("--fanout", "1", "--topology", "fused", "--format", format)
    assert found.return_value == 0
    assert "fused" in found.stdout
