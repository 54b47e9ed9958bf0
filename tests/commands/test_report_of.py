"""`bench report` of whatever there is: runs, an experiment, a curve, a search; single pictures."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from drawn import a_curve, a_search, run_folder
from experiments import planted, write_experiment
from processes import bench, refused

from bench.record.files import as_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("report") / "a-run")


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """The folder of a curve whose runs are gone."""
    (tmp_path / "curve.json").write_bytes(as_json(a_curve()))
    return tmp_path


@pytest.mark.parametrize("format", ["text", "md", "html"])
def test_a_page_has_pictures_of_a_run(run: Path, format: str) -> None:
    done = bench("report", run, "--format", format)
    assert done.returncode == 4, "the run is INVALID"
    pictures = re.findall(r'data-chart="run-1-(\w+)"', done.stdout)
    assert pictures == (["stages", "distribution", "requests", "course"] * (format == "html"))


def test_several_runs_share_a_picture_of_their_latencies(run: Path) -> None:
    page = bench("report", run, run, "--format", "html").stdout
    assert page.count('data-chart="distribution"') == 1
    assert "[1]" in page
    assert "[2]" in page


def test_an_experiment_is_reported_as_by_compare(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, planted)
    for format in ("text", "md", "json"):
        told = bench("report", folder, "--format", format)
        assert told.stdout == bench("compare", folder, "--format", format).stdout
        assert told.returncode == 0
    assert "decode explains all of it" in bench("report", folder, "--format", "html").stdout


def test_a_curve_and_a_search_are_reported_again(curve: Path, tmp_path: Path) -> None:
    text = bench("report", curve).stdout
    assert "The knee is at" in text
    assert msgspec.json.decode(bench("report", curve, "--format", "json").stdout)["knee"]
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "slo.json").write_bytes(as_json(a_search()))
    assert "92.0 requests/s (85.0 to 99.0) hold p99 within 50.0 ms" in " ".join(
        bench("report", folder).stdout.split()
    )


def test_a_single_picture_is_drawn_for_slides(curve: Path, run: Path, tmp_path: Path) -> None:
    svg = bench("report", curve, "--format", "svg", "--picture", "throughput").stdout
    assert ET.fromstring(svg).tag.endswith("svg")
    file = tmp_path / "stages.png"
    bench("report", run, "--format", "png", "--picture", "run-1-stages", "--output", file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_is_not_there_lists_those_that_are(curve: Path, run: Path) -> None:
    known = "known: throughput, latency, tradeoff"
    refused("report", curve, "--format", "svg", code=2, words=f"say which picture; {known}")
    wrong = ("--format", "svg", "--picture", "nothing")
    refused("report", curve, *wrong, code=2, words=f"there is no picture 'nothing'; {known}")
    refused("report", run, "--picture", "x", code=2, words="--picture is of --format svg and png")
    refused("report", run, "--format", "csv", code=2, words="--format csv is of a study")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 99}', b'{"schema": 1}', b"\xff"])
@pytest.mark.parametrize("name", ["curve.json", "slo.json"])
def test_a_damaged_one_is_one_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused("report", tmp_path, code=1, words=name)
