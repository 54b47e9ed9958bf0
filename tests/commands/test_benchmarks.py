"""The benchmark commands run, small, and print what they promise."""

import re

import pytest
from click.testing import CliRunner
from experiments import CHECK

from bench.commands.selfcheck import generator, overhead, scale
from bench.commands.selfcheck.rounds import show
from bench.generator.watching.apportion import measure
from bench.ledger.reading import summary_of
from bench.prepare.images.sets import images_of
from bench.record import generator_check, machine
from bench.record.manifest import read_manifest
from bench.record.records import request_files
from pipelines.tasks import task

INPUT = task("classification").dnn.input


def output(command, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_generators_ability_is_measured_and_kept(tmp_path) -> None:
    kept = tmp_path / "build" / "generator.json"
    options = ("--duration", "1s", "--rounds", "1", "--results", str(tmp_path))
    text = output(generator.command, *options, "--file", str(kept))
    check = generator_check.stored(machine.machine(), kept)
    for rate in (check.closed_per_s, check.one_per_s, check.two_per_s):
        assert f"{rate:,.0f}" in text
    runs = [path.parent for path in tmp_path.glob("*/manifest.json")]
    made = {summary_of(folder).throughput_per_s: folder for folder in runs}
    closed, one, two = (
        made[per_s] for per_s in (check.closed_per_s, check.one_per_s, check.two_per_s)
    )
    assert [len(request_files(folder)) for folder in (closed, one, two)] == [1, 1, 2]
    assert [read_manifest(folder).settings.open for folder in (closed, one)] == [False, True]
    assert [one.per_s for one in check.lateness] == pytest.approx(
        sorted([500, *(part * check.one_per_s for part in generator.LOADS)]), rel=1e-3
    )
    assert all(0 < one.p50_ms <= one.p99_ms for one in check.lateness)
    told = "\n".join(generator.told(CHECK))
    assert "80 us of a core a request" in told
    assert "1.75 times one" in told


def test_scale_reports_time_and_memory() -> None:
    text = output(scale.command, "--requests", "500")
    assert re.search(r"reported in [\d.]+ s with at most \d+ MB", text)


@pytest.mark.triton
@pytest.mark.usefixtures("triton")
def test_two_kinds_of_runs_are_compared_in_turn(tmp_path) -> None:
    text = output(
        overhead.command,
        *("--rounds", "1", "--duration", "1s", "--users", "2", "--results", str(tmp_path)),
    )
    assert re.search(r"ratio of the medians, recorded / unrecorded: [\d.]+", text)


def test_rounds_show_medians_and_their_ratio(capsys) -> None:
    show({"new": [90.0, 110.0, 100.0], "old": [50.0, 40.0, 60.0]})
    text = capsys.readouterr().out
    assert "ratio of the medians, new / old: 2.000" in text
    assert "100.0" in text


def test_dalis_shares_sum_to_one_and_follow_the_image() -> None:
    small, large = (
        measure([images_of(name).paths[0].read_bytes()], INPUT) for name in ("small", "large")
    )
    assert sum(small.values()) == pytest.approx(1)
    assert sum(large.values()) == pytest.approx(1)
    assert large["decode"] > small["decode"]
    assert large["decode"] == max(large.values())
