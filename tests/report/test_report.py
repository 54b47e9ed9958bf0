"""Every format, from hand-made summaries."""

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from experiments import STAGES as STAGE_MS
from experiments import write_steady_run
from pages import Elements
from processes import PYTHON, run
from summaries import MIX, failed, mixed, stage_times, summary

from bench.ledger import units
from bench.ledger.reading import summary_of
from bench.ledger.summary import Issue, Summary
from bench.report import words
from bench.report.document.charts import look
from bench.report.document.written import FORMATS
from bench.report.run import render
from pipelines.errors import ResultsError, VisiontaxError
from pipelines.spans import OTHER, STAGES

HOSTILE = "<script>alert(1)</script>\x1b[31m\x9b2J\r\n|`@all`\u202e'\"{{ 7*7 }}"


def hostile() -> Summary:
    names = ("run", "pipeline", "images", "preprocess", "place", "transport", "machine")
    return summary(
        **dict.fromkeys(names, HOSTILE),
        valid=False,
        issues=[Issue(HOSTILE, HOSTILE, HOSTILE, invalid=True)],
        stages=stage_times({**MIX, HOSTILE: 1.0}),
    )


RUNS = {
    "none": [],
    "one": [summary()],
    "several": [summary(), summary(images="large", preprocess="dali"), failed()],
    "failed": [failed()],
    "mixed": [mixed()],
    "hostile": [hostile()],
    "several hostile": [hostile(), summary(), hostile()],
}


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_renders(runs: list[Summary], format: str) -> None:
    text = render(runs, format=format)
    assert text
    assert not text.endswith("\n")
    assert "-0.0 " not in text
    assert "None" not in text
    assert not {c for c in text if units.clean(c) != c and c not in "\n\u200b"}, "control chars"
    assert not re.search(r"\bnan\b|\binf\b(?!\.)", text)


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(VisiontaxError, match="'pdf'") as caught:
        render([], format="pdf")
    assert caught.value.hint == "use one of: html, json, md, text"


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_text_fits_100_columns(runs: list[Summary]) -> None:
    long = [
        msgspec.structs.replace(run, run=200 * "r", preprocess=60 * "p", place="a-b " * 40)
        for run in runs
    ]
    for line in render(runs + long, format="text").splitlines():
        assert len(line) <= 100


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_a_mix_of_images_has_its_table(format: str) -> None:
    words = re.sub(r"[\s|]+|<[^>]*>", " ", render([mixed()], format=format))
    words = re.sub(" +", " ", words)
    assert "JPEG 30 8,000 0 7.40 1234 (1197 to 1333) 2.25 27.0 %" in words
    assert re.search("PNG 2 123 123 (- ?){4}", words)
    assert "By pipeline" not in words
    assert "size and format" not in render([summary()], format=format)


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_a_mix_of_pipelines_has_its_table(format: str) -> None:
    groups = [msgspec.structs.replace(group, by="pipeline") for group in mixed().mix]
    words = re.sub(r"[\s|]+|<[^>]*>", " ", render([summary(mix=groups)], format=format))
    assert "By pipeline" in words
    assert "size and format" not in words
    assert "JPEG 30 8,000 0 7.40 1234 (1197 to 1333) 2.25 27.0 %" in re.sub(" +", " ", words)


def test_text_says_what_was_run_and_what_came_of_it() -> None:
    text = render([summary()], format="text")
    for said in (
        *("run 2025-01-01-small", "pipeline classify", "images small", "preprocess opencv"),
        *("place ensemble", "transport grpc", "4 users", "1 min", "8,123 requests", "0 errors"),
        *("135 requests/s", "generator CPU 34.0 % of a core", "\nVALID\n"),
    ):
        assert said in text


def test_several_runs_are_compared_first() -> None:
    text = render([summary(), failed()], format="text")
    lines = text[text.index("All runs") :].splitlines()
    heads, first, second = (lines[i].split() for i in (1, 3, 4))
    assert heads[:6] == ["run", "images", "preprocess", "place", "via", "users"]
    assert first[0] == "[1]"
    assert "30.8 %" in lines[3]
    assert second[-1] == "INVALID"


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_invalid_says_why_and_what_to_do(format: str) -> None:
    page = render([failed()], format=format)
    for said in ("INVALID", "no-success", "No request succeeded.", "Is the server running?"):
        assert said in page
    assert "few-samples" in page
    assert "warning" in page


@pytest.mark.parametrize(
    "mix",
    [
        MIX,
        {"inference": 1.0},
        {"decode": 1.0},
        {"decode": 1.0, "resize": 1.0, "inference": 1.0},
        {"inference": 996.0, "decode": 2.0, "queue": 1.0, "other": 1.0},
        {"inference": 4.0, "decode": 993.0, "queue": 1.0, "other": 2.0},
        {"inference": 7.0, "decode": 991.5, "queue": 1.5},
        {"inference": 73.5, "decode": 13.25, "resize": 13.25},
        {name: 1.0 + 0.37 * i for i, name in enumerate(MIX)},
    ],
)
def test_the_percents_of_the_sentence_add_to_100(mix: dict[str, float]) -> None:
    run = summary(mix)
    equation, tax = words.breakdown(run).split("; ")
    assert sum(int(n) for n in re.findall(r"(?<![<\d.])(\d+) %", equation)) == 100
    assert abs(float(re.findall(r"[\d.]+", tax)[0]) / 100 - run.non_inference_share) <= 0.006


def test_the_sentence_is_the_promised_one() -> None:
    mix = {"queue": 0.004, "decode": 0.9, "resize": 0.4, "inference": 6.07, "other": 0.03}
    assert words.breakdown(summary(mix)) == (
        "7.40 ms = 82 % inference + 12 % decode + 5 % resize + 1 % in 2 smaller stages; "
        "18 % is not inference"
    )


def test_the_tail_names_the_stage_that_grew_most() -> None:
    assert words.tail_cause(summary()) == ("The share of queue grew most: from 4.7 % to 29.9 %.")
    same = summary(tail_stages=summary().stages)
    assert words.tail_cause(same).startswith("No stage's share grew")


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_an_apportioned_stage_is_marked(format: str) -> None:
    note = "measured by truncated graphs, not timed by itself"
    assert note not in render([summary()], format=format)
    marked = render([summary(stages=stage_times(MIX, apportioned=("decode",)))], format=format)
    assert note in marked
    assert re.search(r"decode\\?\*", marked)


def test_json_round_trips() -> None:
    one, other = hostile(), failed()
    assert msgspec.json.decode(render([one], format="json"), type=Summary) == one
    both = msgspec.json.decode(render([one, other], format="json"), type=list[Summary])
    assert both == [one, other]


def test_json_of_a_name_that_is_no_text_says_so() -> None:
    with pytest.raises(ResultsError, match="not valid Unicode"):
        render([summary(run="caf\udce9")], format="json")
    for format in ("text", "md", "html"):
        render([summary(run="caf\udce9")], format=format).encode()


def test_hostile_names_are_no_markup() -> None:
    runs = [hostile(), hostile()]
    elements = Elements(render(runs, format="html"))
    assert "script" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "49" not in elements.cells
    markdown = render(runs, format="md")
    assert "<script" not in markdown
    assert "@all" not in markdown


def test_the_page_asks_for_nothing_outside() -> None:
    page = render(RUNS["several"], format="html")
    for name, value in Elements(page).attributes:
        assert name not in ("src", "srcset", "action", "data"), name
        assert name != "href" or (value or "").startswith(("#", "data:text/csv;base64,"))
    assert not re.search(r"https?:|@import|url\((?!#)", page)


def test_every_number_of_the_tables_is_text_on_the_page() -> None:
    runs = RUNS["several"]
    cells = Elements(render(runs, format="html")).cells
    for one in runs:
        tables = chain(words.stage_rows(one), words.tail_rows(one))
        assert set(chain(words.compare_row(one), *tables)) <= cells


def test_quantiles_are_told_with_intervals_or_not_at_all(tmp_path: Path) -> None:
    few = summary_of(write_steady_run(tmp_path / "few", STAGE_MS, requests=120))
    assert few.latency_ms
    assert few.latency_ms.quantiles["p95"].low == 100.0
    for format in ("text", "md", "html"):
        shown = " ".join(render([few], format=format).split())
        assert "p95 100 (100 to 100)" in shown
        assert "p99 too few: needs 500" in shown
        assert "p99.9 too few: needs 5,000" in shown
    rows = [" ".join(line.split()) for line in render([few], format="text").splitlines()]
    decode = "decode 30.0 30.0 (30.0 to 30.0) too few: needs 500 30.0 % 30.0"
    assert decode in rows


def test_every_stage_has_a_colour() -> None:
    css = render([summary()], format="html")
    for name in [*STAGES, OTHER, "unknown"]:
        assert f".s-{name} {{ fill:" in css
        assert f".ink-s-{name} {{ fill:" in css


NUMBERS = {
    units.number: [
        *((0.0, "0"), (-0.0, "0"), (7.4, "7.40"), (9.999, "10.0"), (99.96, "100"), (150.2, "150")),
        *((1234.5, "1234"), (0.0123, "0.0123"), (0.00004, "<0.0001"), (-0.00004, ">-0.0001")),
        *((0.1, "0.100"), (None, "-"), (float("nan"), "-"), (999.6, "1000")),
    ],
    units.percent: [
        *((0.0, "0 %"), (-0.0, "0 %"), (0.0001, "<0.1 %"), (0.274, "27.4 %"), (1.0, "100 %")),
        *((0.9999, ">99.9 %"), (1.87, "187.0 %"), (None, "-")),
    ],
    units.points: [(0.25, "+25.0"), (-0.1, "-10.0"), (-0.0001, "0.0")],
    units.duration: [
        *((0.5, "500 ms"), (30, "30.0 s"), (60, "1 min"), (150, "2 min 30 s")),
        (3900, "1 h 5 min"),
    ],
}


@pytest.mark.parametrize(
    ("way", "value", "text"), [(way, *case) for way, cases in NUMBERS.items() for case in cases]
)
def test_numbers(way: Callable[[Any], str], value: float | None, text: str) -> None:
    assert way(value) == text


@pytest.mark.parametrize("largest", [0.003, 1.0, 7.4, 12.9, 223.0, 1000.0, 1001.0])
def test_a_scale_covers_its_bars(largest: float) -> None:
    _, step, *_ = marks = look.scale(largest)
    full = marks[-1]
    assert largest <= full
    assert full / step == pytest.approx(round(full / step))
    assert 2 <= round(full / step) <= 6


@pytest.mark.parametrize("command", ["measuring.report", "comparing.compare", "comparing.gate"])
def test_reports_need_no_heavy_package(command: str) -> None:
    heavy = {"locust", "gevent", "grpc", "redis", "nvidia", "tritonclient", "cv2", "PIL"}
    code = (
        f"import sys, bench.commands.cli, bench.commands.{command}; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = run((PYTHON, "-c", code))
    assert loaded.returncode == 0, loaded.stderr
    assert not heavy & set(loaded.stdout.split())
