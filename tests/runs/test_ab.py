"""A and B in turns: what is found of them, what is left of an experiment, and what is refused."""

import json
import shutil
import signal
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import msgspec
import pytest
from processes import BENCH, alive, bench, ended, family, refused, started, until

from bench.commands.comparing.ab import show
from bench.commands.selfcheck.alarms import MODEL, copy_repository
from bench.commands.sides import KEYS, read
from bench.compare.likeness import differing
from bench.compare.observations import read_experiment
from bench.compare.stored import of_experiment
from bench.ledger.reading import summary_of
from bench.ledger.units import phrases, settings
from bench.record.manifest import read_manifest
from bench.record.records import read_requests
from bench.record.scenario import Settings
from bench.report.comparison import sentence
from bench.runs.experiments.blocks import Timing
from bench.runs.experiments.paused_load import DiedError, Load
from pipelines import processes
from pipelines.errors import ResultsError, VisiontaxError
from pipelines.servers import control, triton
from pipelines.servers.device import CPU

SMALL = ("--images", "small", "--warmup", "0.5s", "--slice", "300ms")
FEW = "too few blocks to find a difference"
pytestmark = pytest.mark.usefixtures("forgiving")
COMMON = msgspec.structs.asdict(Settings(users=4)) | {"images": None, "device": CPU}


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def is_comparable(folder: Path) -> bool:
    """Whether requests of both sides have finished in some pair of slices."""
    try:
        return bool(of_experiment(folder).rows)
    except ResultsError:
        return False


@pytest.fixture(scope="module")
def interrupted(
    triton: triton.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int, str]]:
    """A against A until Ctrl-C once four blocks can be compared: its folder, exit code, output."""
    into, log = tmp_path_factory.mktemp("same"), tmp_path_factory.mktemp("log") / "log"
    sides = ("--a", f"server={triton.url}", "--b", "preprocess=opencv")
    asked = ("ab", "classification", *SMALL, "--slice", "1s", *sides, "--results", into)
    with started(BENCH, *asked, log=log) as process:
        until(lambda: "[4/" in log.read_text() and is_comparable(only(into)), "four blocks")
        everything = family(process)
        process.send_signal(signal.SIGINT)
        code = ended(process)
        assert alive(everything) == []
        yield only(into), code, log.read_text()


def test_a_against_a_finds_nothing(interrupted) -> None:
    found = of_experiment(interrupted[0])
    assert found.valid
    assert {row.mark for row in found.rows} == {"~"}
    assert sentence(found).startswith(FEW)


def test_a_ctrl_c_leaves_the_table_and_all_that_was_measured(interrupted) -> None:
    folder, code, output = interrupted
    assert code == 130
    assert FEW in output
    assert f"results: {folder}" in output
    assert "Traceback" not in output
    made = read_experiment(folder)
    assert made.stopped == "interrupted"
    assert (made.a.startswith("server="), made.b) == (True, "preprocess=opencv")
    for side in "ab":
        summary = summary_of(folder / side)
        assert summary.valid, summary.issues
        assert summary.errors == 0
        assert summary.requests > 20


def test_turns_are_blocks_of_abba_or_baab_and_do_not_overlap(interrupted) -> None:
    made = read_experiment(interrupted[0])
    blocks = [
        "".join(one.side for one in block)
        for _, block in groupby(made.slices, key=lambda one: one.block)
    ]
    assert set(blocks[:3]) <= {"abba", "baab"}
    times = [moment for one in made.slices for moment in (one.start_ns, one.end_ns)]
    assert times == sorted(times)


def test_requests_are_due_and_under_way_only_in_their_sides_turns(interrupted) -> None:
    folder, _, _ = interrupted
    slices = read_experiment(folder).slices
    first = min(one.start_ns for one in slices)
    for side, other in ("ab", "ba"):
        manifest = read_manifest(folder / side)
        assert manifest.window_start_ns <= first
        requests = [one for one in read_requests(folder / side) if one.due_ns >= first]
        assert len(requests) > 20
        foreign = [(one.start_ns, one.end_ns) for one in slices if one.side == other]
        assert not [
            one
            for one in requests
            if any(one.due_ns < end and one.end_ns > start for start, end in foreign)
        ]


def test_a_slower_repository_is_found_and_its_stage_named(triton, tmp_path) -> None:
    slow = copy_repository(tmp_path / "repository", slower=200)
    into = tmp_path / "results"
    done = bench(
        *("ab", "classification", *SMALL, "--users", 1, "--rounds", 20, "--results", into),
        *("--a", f"server={triton.url}", "--b", f"repo={slow}", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "slower; decode explains" in found["sentence"]
    rows = {row["metric"]: row for row in found["rows"]}
    assert rows["mean"]["mark"] == "-"
    assert 100 < rows["stage.decode"]["ratio"] < 300
    assert next(iter(found["explained"])) == "decode"
    a, b = (read_manifest(only(into) / side).sha256 for side in "ab")
    assert [path for path in a if a[path] != b[path]] == [f"{MODEL}/1/model.py"]
    made = read_experiment(only(into))
    assert (len(made.slices), made.looks, made.looks_at_most) == (40, [10], 1)
    assert f"results: {only(into)}" in done.stderr


@pytest.mark.usefixtures("triton_parts")
def test_another_server_is_compared_with_triton(tmp_path) -> None:
    done = bench(
        *("ab", "classification", *SMALL, "--users", 1, "--rounds", 8, "--results", tmp_path),
        *("--a", "server=fastapi", "--b", "server=triton", "--slice", "800ms", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["a"]["label"], found["b"]["label"]) == ("server=fastapi", "server=triton")
    assert (found["a"]["valid"], found["b"]["valid"], found["doubts"]) == (True, True, [])
    folder = only(tmp_path)
    manifests = {side: read_manifest(folder / side) for side in "ab"}
    assert [one.settings.served_by for one in manifests.values()] == ["fastapi", "triton"]
    assert differing(manifests["a"], manifests["b"]) == ["served_by"]
    a, b = (summary_of(folder / side) for side in "ab")
    assert {*b.stages} <= {*a.stages}
    assert "server fastapi" in phrases(settings(a))
    assert "server triton" not in phrases(settings(b))
    assert not [phrase for phrase in found["shared"] if "server f" in phrase]
    for one in (a, b):
        assert one.server_cpu_share


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--b", "colour=red"), "unknown key 'colour'; known: images, preprocess"),
        (("--b", "users"), "'users' is not key=value; known: images"),
        (("--b", "preprocess=gif"), "--b: preprocess: 'gif' is not one of"),
        (("--b", "place=server-gpu"), "--b: the place server-gpu preprocesses with dali"),
        (("--b", "repo=nowhere"), "--b: repo: Directory 'nowhere' does not exist"),
        (("--a", "server=[::1]:1", "--b", "server=[::1]:1"), "both sides have the same server"),
        (("--b", "", "--budget", "5s"), "--budget: 3 blocks of four slices"),
        (("--b", "", "--slice", "200ms"), "--slice: of each slice 0.1 s do not count"),
        (("--b", "", "--rounds", "7"), "'7' is not auto, or an even number"),
        ((), "Missing option '--b'"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path, arguments, told) -> None:
    results = ("--results", tmp_path / "results")
    refused("ab", "classification", "--images", "small", *results, *arguments, code=2, words=told)
    assert not (tmp_path / "results").exists()


def test_a_side_says_what_it_has_other_than_both() -> None:
    text = "preprocess=dali, users=8 workers=2,1,seed=3"
    side = read("b", text, pipeline="faces", common=COMMON)
    assert side.settings.preprocess == "dali"
    assert (side.settings.users, side.settings.workers, side.settings.seed) == (8, (2, 1), 3)
    assert (side.settings.images, side.settings.topology) == ("faces-4", "direct")
    assert side.title == f"B ({text})"


def test_a_side_knows_the_settings_of_bench_run() -> None:
    from bench.commands.measuring.run import command as bench_run

    options = {option.opts[0].removeprefix("--") for option in bench_run.params}
    not_of_a_side = {"pipeline", "duration", "results", "format", "i-may-load-this-host"}
    assert options - not_of_a_side <= KEYS.keys()


def test_looks_fit_the_budget() -> None:
    timing = Timing(slice_s=1.0, budget_s=300.0, rounds=0)
    assert timing.looks[-1] == timing.blocks
    assert timing.blocks * timing.block_s <= 300
    assert Timing(slice_s=1.0, budget_s=1.0, rounds=12).looks == [6]


def test_a_server_that_is_away_is_an_error(tmp_path) -> None:
    away = f"server=127.0.0.1:{processes.free_port()}"
    given = ("--images", "small", "--results", tmp_path, "--b", away, "--a", "server=127.0.0.1:1")
    words = "error: A (server=127.0.0.1:1): Triton is not ready at"
    refused("ab", "classification", *given, code=1, words=words)


def test_a_server_that_has_ended_is_an_error(triton) -> None:
    made = object.__new__(Load)
    made.side = read("a", "", pipeline="classification", common=COMMON)
    made.folder, made._server = Path("results/x"), triton.url
    made._traced = triton.url
    control.turn_on(triton.url)
    made.confirm()
    control.turn_off(triton.url)  # as one that was started again
    with pytest.raises(DiedError, match="the server of A has ended in mid-experiment"):
        made.confirm()
    made._server = f"127.0.0.1:{processes.free_port()}"
    with pytest.raises(DiedError, match="the server of A has ended in mid-experiment"):
        made.confirm()


def test_a_side_without_any_success_is_an_error(tmp_path) -> None:
    (tmp_path / "requests-1.jsonl").write_text(
        '{"id":"x","pipeline":"p","due_ns":1,"start_ns":1,"end_ns":2,"error":"it is broken",'
        '"bytes_in":0,"bytes_out":0,"spans":[],"calls":[]}\n'
    )
    load = Load.__new__(Load)
    load.side = read("b", "users=2", pipeline="classification", common=COMMON)
    load.folder = tmp_path
    words = r"no request of B \(users=2\) succeeded: it is broken"
    with pytest.raises(VisiontaxError, match=words):
        load.check()


def test_a_side_that_is_invalid_makes_the_comparison_invalid(interrupted, tmp_path, capsys) -> None:
    folder = tmp_path / "experiment"
    shutil.copytree(interrupted[0], folder)
    made = json.loads((folder / "ab.json").read_text())
    (folder / "ab.json").write_text(json.dumps(made | {"stopped": "budget"}))
    (requests,) = (folder / "b").glob("requests-*.jsonl")
    lines = requests.read_text().splitlines()
    one = json.loads(lines[len(lines) // 2])
    with requests.open("a") as file:
        file.writelines(json.dumps(one | {"error": "it broke"}) + "\n" for _ in range(1000))
    assert show(folder, format="text") == 4
    assert "INVALID" in capsys.readouterr().out
