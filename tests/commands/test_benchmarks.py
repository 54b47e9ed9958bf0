"""The benchmark commands run, small, and print what they promise."""

import re

import pytest
from click.testing import CliRunner

from bench.commands.selfcheck import calibrate, overhead, plain, scale
from bench.commands.selfcheck.rounds import show
from bench.generator.apportion import measure
from bench.prepare.images.sets import images_of
from pipelines.tasks import task

INPUT = task("classification").dnn.input


def output(command, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_calibrate_says_how_fast_the_generator_is(tmp_path) -> None:
    text = output(calibrate.command, "--duration", "3s", "--results", str(tmp_path))
    assert re.search(r"\d+ requests/s recorded", text)
    assert re.search(r"\d+% of a core", text)


def test_scale_reports_time_and_memory() -> None:
    text = output(scale.command, "--requests", "500")
    assert re.search(r"reported in [\d.]+ s with at most \d+ MB", text)


@pytest.mark.triton
@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(
    ("command", "names"), [(overhead, ("recorded", "unrecorded")), (plain, ("ensemble", "plain"))]
)
def test_two_kinds_of_runs_are_compared_in_turn(tmp_path, command, names) -> None:
    text = output(
        command.command,
        *("--rounds", "1", "--duration", "1s", "--users", "2", "--results", str(tmp_path)),
    )
    assert re.search(rf"ratio of the medians, {names[0]} / {names[1]}: [\d.]+", text)


def test_rounds_show_medians_and_their_ratio(capsys) -> None:
    show({"new": [90.0, 110.0, 100.0], "old": [50.0, 40.0, 60.0]})
    text = capsys.readouterr().out
    assert "ratio of the medians, new / old: 2.000" in text
    assert "100.0" in text


def test_dalis_shares_sum_to_one_and_follow_the_image() -> None:
    small = measure([images_of("small").paths[0].read_bytes()], INPUT, budget_s=0.5)
    large = measure([images_of("large").paths[0].read_bytes()], INPUT, budget_s=0.5)
    assert sum(small.values()) == pytest.approx(1)
    assert sum(large.values()) == pytest.approx(1)
    assert large["decode"] > small["decode"]
    assert large["decode"] > 0.5
