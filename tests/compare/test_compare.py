"""`bench compare`: an experiment's table again, stored runs, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from experiments import SLOWER, STAGES, planted, without, write_experiment
from experiments import write_steady_run as steady
from processes import bench, refused

from bench.compare.likeness import THINGS
from bench.compare.stored import of_experiment
from bench.record.manifest import SCHEMA


def comparison(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What the command prints as JSON; `code` is what it exits with."""
    done = bench("compare", *arguments, "--format", "json")
    assert done.returncode == code
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in found["rows"]}


def side(
    tmp_path: Path, name: str, many: int, /, *, ms: float = 30.0, **settings: Any
) -> list[Path]:
    """So many runs, each a little slower than the one before."""
    return [
        steady(tmp_path / f"{name}{n}", STAGES | {"decode": ms * (1 + n / 100)}, **settings)
        for n in range(many)
    ]


# Experiments


def test_an_experiments_table_is_printed_again(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, planted)
    done = bench("compare", folder)
    assert "A: preprocess=opencv\nB: preprocess=dali\n\n20 blocks" in done.stdout
    assert "B is 1.30 ± 0.00 times slower; decode explains all of it" in done.stdout
    assert done.returncode == 0


def test_an_experiment_knows_how_often_it_could_have_been_looked_at(tmp_path: Path) -> None:
    found = comparison(write_experiment(tmp_path, blocks=4, looks_at_most=5))
    assert found["looks_at_most"] == 5
    assert found["sentence"].startswith("too few blocks to find a difference")
    assert "so few blocks cannot show a difference" in found["notes"][0]


@pytest.mark.parametrize(
    ("stopped", "note"), [("interrupted", "it was interrupted"), (None, "it still goes on")]
)
def test_an_experiment_without_its_end_says_so(
    tmp_path: Path, stopped: str | None, note: str
) -> None:
    folder = write_experiment(tmp_path, stopped=stopped)
    assert note in comparison(folder)["notes"]


def test_what_the_sides_do_not_name_must_be_alike(tmp_path: Path) -> None:
    settings = {"a": {"preprocess": "opencv"}, "b": {"preprocess": "dali", "place": "client"}}
    folder = write_experiment(tmp_path, settings=settings)
    found = comparison(folder)
    assert found["doubts"] == ["other settings: A and B also differ in place"]
    assert {row["mark"] for row in found["rows"]} == {"!"}


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("repo=/slow", {"sha256": {"mobilenet_v2/1/model.onnx": "1" * 64}}),
        ("rev=v2", {"revision": "7654321", "versions": {"python": "3.12.0"}}),
        ("users=8, images=large", {"users": 8, "images": "large", "image_sizes": {"count": 2}}),
        ("broker-url=127.0.0.1:1", {"broker": "127.0.0.1:1"}),
    ],
)
def test_what_the_sides_name_may_differ(
    tmp_path: Path, named: str, changed: dict[str, Any]
) -> None:
    folder = write_experiment(tmp_path, a="", b=named, settings={"a": {}, "b": changed})
    assert of_experiment(folder).doubts == []


def test_an_invalid_side_has_its_exit_code(tmp_path: Path) -> None:
    found = comparison(write_experiment(tmp_path, without("b", 3)), code=4)
    assert found["doubts"] == ["B is INVALID (ERRORS)"]
    assert "1 block left out: a side finished no request in it" in found["notes"]


def test_a_side_that_finished_nothing_is_an_error(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, without("b"))
    refused("compare", folder, code=1, words="error: B finished no request in its slices")


# Stored runs


def test_runs_are_observations_in_pairs(tmp_path: Path) -> None:
    a = side(tmp_path, "a", 6, preprocess="opencv")
    b = side(tmp_path, "b", 6, preprocess="dali", ms=60.0)
    found = comparison(*a, "--with", *b)
    assert (found["observations"], found["paired"]) == ([6, 6], True)
    assert found["a"]["label"] == "preprocess=opencv"
    assert found["b"]["runs"] == [one.name for one in b]
    mean = rows(found)["mean"]
    assert mean["a"] == pytest.approx(100 + 0.3 * 2.5, rel=1e-3)
    assert mean["ratio"] == pytest.approx(1.3, rel=0.01)
    assert (mean["mark"], mean["chance"]) == ("-", 2 / 2**6)
    assert found["sentence"].endswith("decode explains all of it")
    assert found["doubts"] == []


def test_runs_of_unequal_numbers_are_compared_as_two_samples(tmp_path: Path) -> None:
    found = comparison(*side(tmp_path, "a", 4), "--with", *side(tmp_path, "b", 5, ms=60.0))
    assert (found["observations"], found["paired"]) == ([4, 5], False)
    assert rows(found)["mean"]["mark"] == "-"


def test_one_run_a_side_says_nothing_about_noise(tmp_path: Path) -> None:
    a, b = steady(tmp_path / "a", STAGES), steady(tmp_path / "b", SLOWER)
    found = comparison(a, "--with", b)
    assert found["doubts"] == ["one run a side says nothing about noise"]
    mean = rows(found)["mean"]
    assert mean["ratio"] == pytest.approx(1.3)
    assert (mean["low"], mean["mark"]) == (None, "!")


def test_with_takes_all_that_follows_it_but_not_other_options(tmp_path: Path) -> None:
    a, b = side(tmp_path, "a", 3), side(tmp_path, "b", 3)
    done = bench("compare", "--format", "json", *a, "--with", *b[:2], "--by", "preprocess", b[2])
    found = json.loads(done.stdout)
    assert found["a"]["runs"] == [one.name for one in a]
    assert found["b"]["runs"] == [one.name for one in b]
    again = bench("compare", *a, "--with", b[0], "--with", b[1], f"--with={b[2]}", "--format=json")
    assert json.loads(again.stdout) == found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"machine": {"cpu_model": "slide rule", "cores": 2}}, "other machine: A on abacus"),
        ({"schema": SCHEMA - 1}, f"other schema of the results: {SCHEMA - 1} and {SCHEMA}"),
        ({"preprocess": "dali", "users": 2}, "A and B differ in preprocess, users"),
        ({"revision": "7654321", "users": 2}, "A and B differ in users, revision"),
        ({"image_sizes": {"count": 5}, "users": 2}, "A and B differ in images, users"),
        ({"service_s": 0.2, "users": 2}, "A and B differ in service_s, users"),
    ],
)
def test_what_is_not_alike_is_flagged_and_named(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    a = side(tmp_path, "a", 3)
    b = _old(tmp_path) if "schema" in changed else side(tmp_path, "b", 3, **changed)
    found = comparison(*a, "--with", *b)
    assert any(words in doubt for doubt in found["doubts"]), found["doubts"]
    assert {row["mark"] for row in found["rows"]} == {"!"}


def _old(tmp_path: Path) -> list[Path]:
    """Runs as schema 1 had them: without `calls`, and with `sent_ns` and `received_ns`."""
    runs = side(tmp_path, "old", 3, schema=1)
    for folder in runs:
        path = folder / "requests-1.jsonl"
        old = [json.loads(line) for line in path.read_text().splitlines()]
        for one in old:
            del one["calls"]
            one |= {"sent_ns": None, "received_ns": None}
        path.write_text("".join(json.dumps(one) + "\n" for one in old))
    return runs


def test_the_one_setting_that_differs_is_what_is_compared(tmp_path: Path) -> None:
    found = comparison(*side(tmp_path, "a", 3), "--with", *side(tmp_path, "b", 3, users=2))
    assert (found["a"]["label"], found["b"]["label"]) == ("users=1", "users=2")
    assert found["doubts"] == []


def test_several_may_differ_when_they_are_named(tmp_path: Path) -> None:
    a = side(tmp_path, "a", 3)
    b = side(tmp_path, "b", 3, users=2, preprocess="dali")
    assert comparison(*a, "--with", *b, "--by", "users, preprocess")["doubts"] == []
    (doubt,) = comparison(*a, "--with", *b, "--by", "users")["doubts"]
    assert doubt == "other settings: A and B also differ in preprocess"


def test_sides_that_were_not_measured_in_turns_are_noted(tmp_path: Path) -> None:
    def at(name: str, *seconds: int) -> list[Path]:
        return [
            steady(tmp_path / f"{name}{second}", STAGES, clock={"unix_ns": second * 10**9})
            for second in seconds
        ]

    note = "all of B was measured before A: drift would look the same"
    assert note in comparison(*at("a", 4, 5, 6), "--with", *at("b", 1, 2, 3))["notes"]
    turns = comparison(*at("c", 1, 4, 5), "--with", *at("d", 2, 3, 6))["notes"]
    assert not any("drift" in one for one in turns)


def test_a_seed_and_an_address_are_no_other_settings(tmp_path: Path) -> None:
    a, b = side(tmp_path, "a", 3), side(tmp_path, "b", 3, seed=7, broker="127.0.0.1:7", batch=4)
    found = comparison(*a, "--with", *b)
    assert found["doubts"] == []
    assert found["a"]["label"] == "a0 and 2 more"


def test_runs_of_one_side_that_are_not_alike_are_flagged(tmp_path: Path) -> None:
    a = [*side(tmp_path, "a", 2), *side(tmp_path, "mixed", 1, users=9)]
    (doubt,) = comparison(*a, "--with", *side(tmp_path, "b", 3))["doubts"]
    assert doubt == "other settings: the runs of A differ in users"


def test_an_invalid_run_has_its_exit_code(tmp_path: Path) -> None:
    bad = steady(tmp_path / "bad", STAGES, requests=200, failed=9)
    found = comparison(*side(tmp_path, "a", 3), "--with", bad, bad, bad, code=4)
    assert found["doubts"] == ["B is INVALID (ERRORS)"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pipeline": "detection"}, "are of several pipelines: classification, detection"),
        ({"schema": SCHEMA + 1}, f"schema {SCHEMA + 1}; this version reads up to {SCHEMA}"),
        ({"requests": 0}, "no request of b succeeded"),
        (None, "there is no folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, Any] | None, words: str
) -> None:
    if changes:
        steady(tmp_path / "b", STAGES, **changes)
    a = steady(tmp_path / "a", STAGES)
    told = refused("compare", a, "--with", tmp_path / "b", code=1, words=words)
    assert "\nhint: " in told
    assert len(told.splitlines()) == 2


def test_a_newer_experiment_is_refused(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, schema=2)
    refused("compare", folder, code=1, words="this version reads up to 1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument"),
        (("RUN",), "say what to compare with: bench compare A... --with B..."),
        (("RUN", "--with"), "say what to compare with"),
        (("RUN", "--with", "RUN", "--by", "wind"), f"unknown: wind; known: {', '.join(THINGS)}"),
        (("AB", "--with", "RUN"), "is an experiment, and stands alone"),
        (("RUN", "--with", "AB"), "is an experiment, and stands alone"),
        (("AB", "AB"), "is an experiment, and stands alone"),
        (("AB", "--by", "users"), "is an experiment, and stands alone"),
    ],
)
def test_a_command_line_that_says_too_little_or_too_much(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    made = {
        "RUN": steady(tmp_path / "run", STAGES),
        "AB": write_experiment(tmp_path / "ab", blocks=2),
    }
    refused("compare", *(made.get(word, word) for word in arguments), code=2, words=words)


def test_every_stage_has_a_row_in_the_order_in_which_a_request_passes_them(tmp_path: Path) -> None:
    stages = {"send": 1.0, "decode": 30.0, "inference": 60.0, "parse": 2.0}
    mixed = dict(reversed(stages.items()))
    found = comparison(steady(tmp_path / "a", mixed), "--with", steady(tmp_path / "b", stages))
    told = [name for name in rows(found) if name.startswith("stage.")]
    assert told == [f"stage.{name}" for name in stages]
    assert rows(found)["stage.inference"]["a"] == pytest.approx(60)
