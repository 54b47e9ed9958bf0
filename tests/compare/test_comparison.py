"""What is said of A and B: marks, sentence and rendering, from observations made by hand."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.compare.comparison import RATE, Comparison, Row, Side, compare
from bench.compare.observations import Experiment, Observations, Slice
from bench.compare.randomization import FLIPS, LOOKS
from bench.ledger import units
from bench.report.comparison import MARKS, cells, data, render, sentence, told
from bench.report.document.written import FORMATS

HOSTILE = units.clean("<script>alert(1)</script>\x1b[31m|`@all`\u202e'\"")
STEADY = {"throughput": 10.0, "mean": 100.0, "p50": 95.0, "p95": 150.0, "p99": 200.0}
STAGES = {"stage.decode": 40.0, "stage.inference": 60.0}


def side(label: str = "x", **changes: Any) -> Side:
    return Side(**{"label": label, "runs": [label], "valid": True, "issues": []} | changes)


def seen(
    factors: dict[str, float] | None = None,
    /,
    *,
    blocks: int = 20,
    noise: float = 0.002,
    **how: Any,
) -> Observations:
    """Blocks in which B is A times the factors, within so much noise; a metric each its own."""
    random = np.random.default_rng(1)
    a, b = (
        {
            name: value * times.get(name, 1.0) * np.exp(random.normal(0, noise, blocks))
            for name, value in (STEADY | STAGES).items()
        }
        for times in ({}, factors or {})
    )
    return Observations(a, b, **how)


def compared(observed: Observations, **changes: Any) -> Comparison:
    chosen = {"a": side("preprocess=opencv"), "b": side("preprocess=dali"), "unit": "block"}
    return compare(observed, **chosen | changes)


def rows(comparison: Comparison) -> dict[str, Row]:
    return {row.metric: row for row in comparison.rows}


FASTER = {
    "throughput": 1.43,
    "mean": 1 / 1.43,
    "p50": 1 / 1.43,
    "stage.decode": (40 - 0.81 * 100 * (1 - 1 / 1.43)) / 40,
    "stage.inference": (60 - 0.19 * 100 * (1 - 1 / 1.43)) / 60,
}


def test_better_and_worse_are_of_the_metric() -> None:
    found = rows(compared(seen({"throughput": 1.1, "mean": 0.9, "p99": 1.1})))
    marks = {name: row.mark for name, row in found.items()}
    assert (marks["throughput"], marks["mean"], marks["p99"]) == ("+", "+", "-")
    assert marks["p50"] == marks["stage.decode"] == "~"
    worse = rows(compared(seen({"throughput": 0.9})))
    assert worse["throughput"].mark == "-"


def test_b_over_a_is_the_quotient_of_the_columns() -> None:
    for row in compared(seen(FASTER)).rows:
        assert row.ratio == pytest.approx(row.b / row.a)
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.ratio < row.high


def test_the_sentence_is_the_promised_one() -> None:
    faster = sentence(compared(seen(FASTER, noise=0.02)))
    assert re.fullmatch(r"B is 1\.4\d ± 0\.02 times faster; decode explains 8\d % of it", faster)
    slower = sentence(compared(seen({"mean": 1.5, "stage.decode": 2.25})))
    assert re.fullmatch(r"B is 1\.50\d ± 0\.00\d times slower; decode explains all of it", slower)


def test_no_difference_is_said_with_what_it_could_be_at_most() -> None:
    found = compared(seen(noise=0.01))
    assert re.fullmatch(
        r"no difference found between A and B: B/A of the mean is 1\.00\d? "
        r"\((0\.99\d?|1\.00\d?) to 1\.0\d+\)",
        sentence(found),
    )
    assert found.explained == {}
    assert {row.mark for row in found.rows} == {"~"}
    for cell in cells(found):
        assert cell[3] == "not significant"


def test_rows_that_differ_without_the_mean_are_named() -> None:
    said = sentence(compared(seen({"p99": 1.5, "stage.decode": 1.1})))
    assert said.startswith("no difference found between A and B: B/A of the mean is 1.00")
    assert said.endswith("; marked below: p99, decode")


def test_the_stages_explain_the_difference_by_their_own() -> None:
    found = compared(seen({"mean": 1.2, "stage.decode": 1.6, "stage.inference": 0.95}))
    assert list(found.explained) == ["decode", "inference"]
    assert found.explained["decode"] == pytest.approx(24 / 21, abs=0.03)
    assert sum(found.explained.values()) == pytest.approx(1)
    assert "decode explains more than all of it" in sentence(found)


def test_looks_and_rows_share_the_rate() -> None:
    blocks = np.array([1.0] * 10 + [-1.0] * 2)  # as far are tosses with 0, 1 or 2 of a kind
    shape = dict.fromkeys(STEADY | STAGES, np.exp(blocks / 100))
    observed = Observations({name: np.ones(12) for name in shape}, shape)
    found = rows(compared(observed))
    assert found["mean"].chance == 2 * (1 + 12 + 66) / 2**12
    assert found["mean"].mark == "-"
    assert {row.mark for name, row in found.items() if name != "mean"} == {"~"}
    assert rows(compared(observed, looks_at_most=6))["mean"].mark == "~"


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (1, "one run a side says nothing about noise"),
        (2, "two runs a side say too little about noise"),
    ],
)
def test_too_few_to_tell_noise_give_a_ratio_without_an_interval(runs: int, words: str) -> None:
    found = compared(seen({"mean": 2.0}, blocks=runs), unit="run")
    assert [*map(told, found.doubts)] == [words]
    assert sentence(found).startswith("B/A of the mean is 2.0")
    assert sentence(found).endswith(f"; not to be trusted: {words}")
    for row in found.rows:
        assert (row.low, row.high, row.chance, row.mark) == (None, None, None, "!")


def test_runs_that_can_show_nothing_are_told_apart_from_no_difference() -> None:
    three = compared(seen({"mean": 2.0}, blocks=3), unit="run")
    assert [*map(told, three.notes)] == [
        "so few runs cannot show a difference: chance alone would be too likely to give it"
    ]
    assert sentence(three).startswith("too few runs to find a difference: B/A of the mean is ")
    six = compared(seen({"mean": 2.0}, blocks=6), unit="run")
    assert "of any row but the mean" in told(six.notes[0])
    assert rows(six)["mean"].mark == "-"
    assert not compared(seen(blocks=12), unit="run").notes


def test_a_doubt_marks_every_row_and_leads_the_sentence() -> None:
    bad = side("b", valid=False, issues=["ERRORS", "OTHER"])
    found = compared(seen(FASTER), b=bad, doubts=[("machine", "x", "y")])
    assert {row.mark for row in found.rows} == {"!"}
    assert not found.valid
    assert told(found.doubts[0]) == "B is INVALID (ERRORS, OTHER)"
    assert sentence(found).startswith("B/A of the mean is 0.700 (")
    assert "not to be trusted: B is INVALID (ERRORS, OTHER); other machine" in sentence(found)
    text = render(found, format="text")
    assert "B: b  INVALID: ERRORS, OTHER" in text
    assert "warning: other machine: A on x; B on y" in text
    assert "not significant" not in text


def test_sides_of_unequal_numbers_are_not_paired() -> None:
    a, b = seen(blocks=4), seen({"mean": 2.0}, blocks=5)
    found = compared(Observations(a.a, b.b, paired=False), unit="run")
    assert found.observations == (4, 5)
    assert rows(found)["mean"].mark == "-"
    assert rows(found)["p50"].mark == "~"
    assert "4 and 5 runs a side, not paired" in render(found, format="text")


def test_a_stage_of_one_side_only_has_times_and_no_ratio() -> None:
    observed = seen()
    observed.a["stage.preprocess"] = np.full(20, 30.0)
    observed.b["stage.preprocess"] = np.zeros(20)
    found = compared(observed)
    row = rows(found)["stage.preprocess"]
    assert (row.a, row.b, row.ratio, row.mark) == (pytest.approx(30), None, None, "~")
    shown = {cell[0]: cell for cell in cells(found)}["preprocess"]
    assert shown == ["preprocess", "30.0", "-", "-", "-", "~"]


def test_a_stage_unknown_in_some_blocks_is_compared_in_the_others() -> None:
    observed = seen({"stage.decode": 1.5})
    observed.b["stage.decode"][3:7] = np.nan
    observed.a["stage.decode"][0] = 0
    row = rows(compared(observed))["stage.decode"]
    assert row.ratio == pytest.approx(1.5, rel=0.01)
    assert row.mark == "-"


def test_blocks_left_out_are_said() -> None:
    found = compared(seen(left_out=(3, 4)), notes=[("interrupted",)])
    assert [*map(told, found.notes)] == [
        "it was interrupted",
        "2 blocks left out: a side finished no request in it",
    ]


EXAMPLES = {
    "faster": compared(seen(FASTER)),
    "alike": compared(seen()),
    "few": compared(seen(blocks=1), unit="run"),
    "hostile": compared(
        seen(FASTER),
        a=side(HOSTILE, valid=False, issues=[HOSTILE]),
        shared=[HOSTILE],
        doubts=[("machine", HOSTILE, HOSTILE)],
        notes=[("in a row", HOSTILE, HOSTILE)],
    ),
    "extreme": compared(seen({"mean": 1e6, "p99": 1e-6, "stage.decode": 1e6})),
    "long": compared(seen(), a=side("a" * 300), shared=["word " * 60]),
}


@pytest.mark.parametrize("found", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_renders(found: Comparison, format: str) -> None:
    text = render(found, format=format)
    assert text
    assert not text.endswith("\n")
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert not {c for c in text if units.clean(c) != c and c not in "\n\u200b"}


@pytest.mark.parametrize("found", EXAMPLES.values(), ids=EXAMPLES)
def test_text_fits_100_columns(found: Comparison) -> None:
    assert max(map(len, render(found, format="text").splitlines())) <= 100


def test_every_mark_in_a_table_is_explained_below_it() -> None:
    for found in EXAMPLES.values():
        for format in ("text", "md"):
            text = render(found, format=format).replace("\\", "")
            for mark in {row.mark for row in found.rows}:
                assert f"{mark} {MARKS[mark]}" in text


def test_hostile_names_are_no_markup() -> None:
    text = render(EXAMPLES["hostile"], format="md")
    assert "<script" not in text
    assert "@all" not in text


def test_markdown_is_a_heading_and_a_table() -> None:
    lines = render(EXAMPLES["faster"], format="md").splitlines()
    assert lines[0].startswith("### B is 1.43")
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| metric | A | B | B/A | 95 % interval | mark |"
    assert len(table) == 2 + len(STEADY | STAGES)
    assert table[3].endswith("| + |")


def test_the_docs_say_what_the_code_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    for struct in (Comparison, Row, Side, Experiment, Slice):
        for field in struct.__struct_fields__:
            assert f"`{field}`" in page, field
    for mark in MARKS:
        assert f"| `{mark}` |" in page
    *first, last = map(str, LOOKS)
    assert f"after {', '.join(first)} and {last} blocks" in text
    assert (
        f"({100 * RATE:g} % for the tables): with six looks each has {100 * RATE / 6:.2f} %" in text
    )
    assert len(LOOKS) == 6
    assert f"{FLIPS + 1:,} times" in text


def test_json_round_trips() -> None:
    for found in EXAMPLES.values():
        text = render(found, format="json")
        whole = msgspec.json.encode(data(found))
        assert msgspec.json.decode(text) == msgspec.json.decode(whole)
        assert msgspec.json.decode(text)["sentence"] == sentence(found)
