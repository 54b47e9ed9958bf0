"""`bench study`: what runs in which order, what survives, and what is left behind."""

import csv
import io
import itertools
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loads import OF_A_BUSY_MACHINE
from made_up import MadeUp
from processes import (
    BENCH,
    ROOT,
    TIMEOUT_S,
    alive,
    family,
    refused,
    run,
    started,
    until,
    wait_gone,
)
from runs import enough
from summaries import summary

from bench.commands.cli import SHORTCUTS
from bench.ledger.grid.found import Found
from bench.ledger.quantiles import Quantile
from bench.ledger.reading import summary_of
from bench.ledger.summary import Latency, Summary
from bench.record import folders, records
from bench.record.manifest import read_manifest
from bench.record.records import read_requests
from bench.record.scenario import TENSOR, Settings, settings_of
from bench.runs import studying
from bench.runs.equipment import kit
from bench.runs.order import in_turn
from bench.runs.run import Plan, execute
from pipelines.errors import ResultsError, ServerError
from pipelines.servers import triton
from pipelines.servers.sizing import Served

DEPTH = ("study", "overhead", "--set", "pipeline=depth", "--set", "users=1")
"""Seven cells where there is no GPU."""


def ran(chosen: Settings, folder: str) -> Summary:
    """A run; inference alone is twice as fast."""
    ms = 5.0 if chosen.alone else 10.0
    latency = Latency(ms, 4 * ms, {})
    latency = msgspec.structs.replace(latency, quantiles={"p99": Quantile(3 * ms, ms, 4 * ms, 500)})
    names = ("pipeline", "images", "preprocess", "place", "transport", "topology", "users")
    said: dict[str, Any] = {name: getattr(chosen, name) for name in names}
    if chosen.brokered:
        said |= {"crops": chosen.crops, "broker_share": 0.25}
    return summary(run=folder, latency_ms=latency, throughput_per_s=1000 / ms, **said)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeUp:
    monkeypatch.setattr(studying.device, "present", list)
    monkeypatch.setattr(studying.kafka, "check_installed", lambda: None)
    return MadeUp(monkeypatch, tmp_path / "results", ran)


def asked(made_up: MadeUp) -> list[tuple[str, str]]:
    return [(plan.settings.images, plan.settings.place) for plan in made_up.plans]


# What is asked for


def test_all_are_listed_with_their_questions() -> None:
    done = run(BENCH, "study", "--list")
    assert done.returncode == 0
    for path in (ROOT / "bench" / "studies").glob("*.toml"):
        assert re.search(rf"^{path.stem} +\S.*\?$", done.stdout, re.MULTILINE), path
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_plan_names_the_cells_and_how_long_they_take(made_up: MadeUp) -> None:
    found = made_up.invoke(*DEPTH, "--plan", "--rounds", 3, "--duration", "10s")
    *cells, blank, said, lacking = found.stdout.splitlines()
    assert (len(cells), len(set(cells)), blank) == (7, 7, "")
    assert said == "21 runs of 7 cells in 3 rounds, about 5 min 15 s"
    assert lacking.startswith("left out on this machine: there is no GPU")
    assert not made_up.plans


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("study",), "name a study; --list shows them"),
        (("study", "demo", "--set", "users"), "'users' is not KEY=VALUE"),
        (("study", "demo", "--rounds", "0"), "--rounds"),
        (("study", "--plan", "demo", "--rounds", "many"), "--rounds"),
        (("study", "--duration", "soon", "demo"), "not a duration"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    refused(*arguments, code=2, words=words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("users=many", "users: 'many' is not a valid integer"),
        ("nix=1", "there is no setting 'nix'"),
        ("rate=fast", "fast"),
        ("server=10.1.2.3:8000", "10.1.2.3"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    made_up: MadeUp, given: str, words: str
) -> None:
    found = made_up.invoke("study", "demo", "--set", given)
    assert words in str(found.exception)
    assert not made_up.plans
    assert not made_up.built


def test_what_is_no_duration_is_refused_before_a_folder_is_made(
    made_up: MadeUp, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    text = 'title = "T"\nquestion = "Q?"\n{}\n[axes]\nusers = [1, 2]\n{}'
    for wrong in (('duration = "soon"', ""), ("", '[quick]\nduration = "soon"')):
        mine.write_text(text.format(*wrong))
        found = made_up.invoke("study", mine)
        assert "not a duration: 'soon'" in str(found.exception)
    mine.write_text(text.format("rounds = 0", ""))
    assert "rounds" in str(made_up.invoke("study", mine).exception)
    assert not (tmp_path / "results").exists()


def test_shortcuts_are_studies(made_up: MadeUp) -> None:
    for name, study in SHORTCUTS.items():
        short = made_up.invoke(name, "--quick", "--plan")
        assert short.stdout == made_up.invoke("study", study, "--quick", "--plan").stdout


# What is run


def test_every_round_covers_all_and_what_is_compared_follows_each_other() -> None:
    groups = [["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2", "c3"]]
    order = in_turn(groups, rounds=3, seed=2)
    everything = sorted(itertools.chain(*groups))
    rounds = [order[at : at + 8] for at in range(0, len(order), 8)]
    assert [sorted(one) for one in rounds] == [everything] * 3
    for one in rounds:
        assert len(list(itertools.groupby(one, key=lambda name: name[0]))) == len(groups)
    assert rounds[0] != rounds[1] != rounds[2]


def test_it_makes_every_run_beside_inference_alone(made_up: MadeUp) -> None:
    found = made_up.invoke("study", "overhead", "--rounds", 2)
    assert found.return_value == 0, found.stderr
    assert made_up.built == ["large", "medium", "small"]
    many = 2 * 4 * 2 * (3 * 2 + 1)
    assert len(made_up.plans) == many
    assert f"[1/{many}] " in found.stderr
    assert f"[{many}/{many}] " in found.stderr
    assert {plan.settings.server for plan in made_up.plans} == {"there:8000"}
    assert made_up.stood == 1
    assert str(made_up.folder / "index.html") in found.stderr
    kept = {path.name for path in made_up.folder.iterdir()}
    assert kept == {"study.json", "cells.jsonl", "index.html", "table.md", "table.csv"}
    table = list(csv.DictReader(io.StringIO((made_up.folder / "table.csv").read_text())))
    assert len(table) == 4 * 2 * (3 * 2 + 1)
    assert {row["of_beside"] for row in table} == {"0.5", "1.0"}
    assert "left out on this machine: there is no GPU" in found.stdout.replace("\n", " ")


SIZES = """
title = "Sizes"
question = "How many?"
rounds = 3
[axes]
inference-instances = [1, 2, 4]
images = ["small", "large"]
[settings]
warmup = "1s"
"""


def test_cells_with_another_server_have_it_in_turn(made_up: MadeUp, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(SIZES)
    plan = made_up.invoke("study", mine, "--plan").stdout.splitlines()[-1]
    runs = [one.settings for one in made_up.plans]
    assert not runs
    assert re.fullmatch(r"18 runs of 6 cells in 3 rounds, \d restarts of the server, .+", plan)
    found = made_up.invoke("study", mine)
    assert found.return_value == 0, found.stderr
    runs = [one.settings for one in made_up.plans]
    for start in range(0, 18, 6):
        sizes = [one.inference_instances for one in runs[start : start + 6]]
        assert [len(list(group)) for _, group in itertools.groupby(sizes)] == [2, 2, 2]
        assert {(one.inference_instances, one.images) for one in runs[start : start + 6]} == {
            *itertools.product((1, 2, 4), ("small", "large"))
        }
    sizes = [one.inference_instances for one in runs]
    restarts = len(list(itertools.groupby(sizes))) - 1
    assert made_up.stood == restarts + 1 > 6
    assert f", {restarts} restarts of the server, about" in plan
    assert all(len(set(map(kit, chosen))) == 1 for chosen in made_up.equipments)


def test_a_size_is_not_of_a_server_that_is_not_started(made_up: MadeUp, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(SIZES)
    for server, words in (
        ("127.0.0.1:8000", "the server at 127.0.0.1:8000 has its own instances and threads"),
        ("fastapi", "FastAPI has one worker a core, and no --inference-instances"),
    ):
        found = made_up.invoke("study", mine, "--set", f"server={server}")
        assert words in str(found.exception)
    assert not (tmp_path / "results").exists()


def test_settings_reach_every_run(made_up: MadeUp) -> None:
    made_up.invoke(
        *(*DEPTH, "--set", "images=large", "--set", "place=client", "--set", "preprocess=opencv"),
        *("--set", "transport=grpc", "--set", "warmup=3s", "--duration", "9s", "--seed", 11),
    )
    for plan in made_up.plans:
        chosen = plan.settings
        assert (plan.duration_s, chosen.warmup_s, chosen.users, chosen.seed) == (9, 3, 1, 11)
        assert (chosen.pipeline, chosen.transport) == ("depth", "grpc")
    assert sorted(asked(made_up)) == [("large", "client"), ("tensor", "none")]


def test_the_seed_decides_the_order(made_up: MadeUp) -> None:
    orders = []
    for seed in (1, 1, 2):
        made_up.plans.clear()
        made_up.invoke("study", "broker", "--seed", seed)
        orders.append([(one.settings.images, one.settings.topology) for one in made_up.plans])
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == len(set(orders[0])) == 13 * 5


def test_a_gpus_place_is_measured_where_there_is_one(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studying.device, "present", lambda: ["NVIDIA Made Up"])
    assert made_up.invoke(*DEPTH, "--set", "device=gpu").return_value == 0
    assert "server-gpu" in {plan.settings.place for plan in made_up.plans}


def test_a_gpu_that_is_not_there_is_an_error_before_anything_runs(made_up: MadeUp) -> None:
    found = made_up.invoke(*DEPTH, "--set", "device=gpu")
    assert isinstance(found.exception, ServerError)
    assert not made_up.plans


def test_without_kafka_the_other_topologies_are_run_and_that_is_said(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ServerError("Kafka is not fetched", hint="run 'make kafka'")

    monkeypatch.setattr(studying.kafka, "check_installed", absent)
    found = made_up.invoke("study", "broker", "--set", "fanout=0,2")
    assert found.return_value == 0
    assert "kafka" not in {plan.settings.topology for plan in made_up.plans}
    assert "left out on this machine: Kafka is not fetched" in found.stdout.replace("\n", " ")


# What goes wrong


def test_an_invalid_run_makes_the_exit_code_4(made_up: MadeUp) -> None:
    made_up.invalid = frozenset({TENSOR})
    found = made_up.invoke(*DEPTH)
    assert found.return_value == 4
    assert "1 of 7 runs INVALID" in found.stdout.replace("\n", " ")


def test_a_cell_that_fails_is_named_and_the_others_go_on(made_up: MadeUp) -> None:
    made_up.fails = {2: ServerError("the model is not there")}
    found = made_up.invoke(*DEPTH)
    assert found.return_value == 1
    assert len(made_up.plans) == 7
    assert "the model is not there" in found.stdout
    assert "warning: " in found.stderr
    rows = (made_up.folder / "table.csv").read_text().splitlines()
    assert len(rows) == 7


def test_a_server_that_died_is_started_again_and_no_other_cell_is_lost(made_up: MadeUp) -> None:
    made_up.fails = {2: ServerError("it stopped answering")}
    made_up.dies = {2: ServerError("Triton stopped answering")}
    found = made_up.invoke(*DEPTH)
    assert (found.return_value, made_up.stood, len(made_up.plans)) == (1, 2, 7)
    assert "it is started again" in found.stderr


def test_a_full_disk_ends_it(made_up: MadeUp) -> None:
    made_up.fails = {2: ResultsError("the records cannot be written")}
    found = made_up.invoke(*DEPTH)
    assert isinstance(found.exception, ResultsError)
    assert len(made_up.plans) == 3


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ResultsError("full")], ids=["^C", "disk"])
def test_what_was_cut_off_is_shown_and_gone_on_with(made_up: MadeUp, fault: BaseException) -> None:
    made_up.fails = {3: fault}
    found = made_up.invoke(*DEPTH)
    assert found.exception is not None
    assert f"go on with: bench study --resume {made_up.folder}" in found.stderr
    assert len((made_up.folder / "table.csv").read_text().splitlines()) == 4
    before = asked(made_up)[:3]
    again = made_up.invoke("study", "--resume", made_up.folder)
    assert again.return_value == 0
    assert sorted(before + asked(made_up)[4:]) == sorted(set(asked(made_up)))
    assert len((made_up.folder / "table.csv").read_text().splitlines()) == 8
    assert made_up.invoke("study", "--resume", made_up.folder).stdout == again.stdout
    assert made_up.stood == 2, "nothing is started where nothing is left"


def test_a_cell_that_failed_is_tried_again_when_it_is_resumed(made_up: MadeUp) -> None:
    made_up.fails = {2: ServerError("not there")}
    made_up.invoke(*DEPTH)
    again = made_up.invoke("study", "--resume", made_up.folder)
    assert (again.return_value, len(made_up.plans)) == (0, 8)
    assert "not there" not in again.stdout


def test_cut_short_before_anything_was_measured_nothing_is_shown(made_up: MadeUp) -> None:
    made_up.fails = {0: KeyboardInterrupt()}
    found = made_up.invoke(*DEPTH)
    assert found.exception is not None
    assert not found.stdout


@pytest.mark.parametrize("format", ["text", "md", "json", "csv"])
def test_a_study_can_be_reported_again(made_up: MadeUp, format: str) -> None:
    first = made_up.invoke(*DEPTH, "--format", format)
    folder = made_up.folder
    assert made_up.invoke("study", "--resume", folder, "--format", format).stdout == first.stdout
    if format == "json":
        assert msgspec.json.decode(first.stdout, type=Found).name == "overhead"


def test_a_study_is_gone_on_with_as_it_was_asked(made_up: MadeUp) -> None:
    made_up.invoke(*DEPTH)
    for more in (("--rounds", 2), ("demo",), ("--quick",), ("--set", "users=2")):
        found = made_up.invoke("study", *more, "--resume", made_up.folder)
        assert "leave the rest out" in str(found.exception)
    assert made_up.invoke("matrix", "--resume", made_up.folder).return_value == 0


def test_a_folder_that_is_no_study_says_what_is(made_up: MadeUp, tmp_path: Path) -> None:
    found = made_up.invoke("study", "--resume", tmp_path)
    assert isinstance(found.exception, ResultsError)
    assert "it has no study.json" in str(found.exception)


# For real


def test_a_study_of_ones_own_on_the_fake_engine(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'title = "Mine"\nquestion = "How fast?"\nduration = "1s"\n'
        '[axes]\nusers = [1, 2]\nimages = ["tensor", "small"]\n'
        '[settings]\ntransport = "fake"\nplace = "client"\nwarmup = "0s"\n'
    )
    done = run(BENCH, "study", mine, "--results", tmp_path)
    assert done.returncode in (0, 4), done.stderr
    (folder,) = tmp_path.glob("*-study-mine")
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert [(row["users"], row["images"]) for row in rows] == [
        *(("1", "tensor"), ("1", "small"), ("2", "tensor"), ("2", "small")),
    ]
    for row in rows:
        stored = summary_of(folder / row["runs"])
        assert float(row["throughput"]) == stored.throughput_per_s
    again = run(BENCH, "report", folder)
    assert again.stdout == done.stdout
    page = run(BENCH, "report", folder, "--format", "html")
    assert page.stdout.strip() == (folder / "index.html").read_text().strip()


def alone(**given: Any) -> Settings:
    return settings_of({"images": TENSOR, "warmup_s": 0.2} | given)


def test_inference_alone_is_a_run_whose_time_is_inference_and_transport(
    triton: triton.Server, tmp_path: Path
) -> None:
    settings = alone(users=2, server=triton.url)
    folder = folders.make_folder(tmp_path, settings)
    done = run(tuple(Plan(settings, 4).command(folder)))
    assert done.returncode == 0, done.stderr
    found = summary_of(folder)
    untrusted = {issue.code for issue in found.issues if issue.invalid}
    assert untrusted <= OF_A_BUSY_MACHINE, found.issues
    assert (found.images, found.preprocess, found.place) == ("tensor", "none", "none")
    assert found.stages["inference"].share > 0
    assert not {"decode", "resize", "normalize"} & found.stages.keys()
    assert found.generator_cpu_share
    manifest = read_manifest(folder)
    assert (manifest.image_sizes["width"], manifest.image_sizes["height"]) == (224, 224)
    inside = [
        request
        for request in read_requests(folder)
        if manifest.window_start_ns <= request.end_ns < (manifest.window_end_ns or 0)
    ]
    assert found.throughput_per_s == pytest.approx(len(inside) / found.duration_s, rel=0.1)


@pytest.mark.parametrize("place", ["client", "server"])
def test_preprocessing_alone_is_a_run_without_inference(
    triton: triton.Server, tmp_path: Path, place: str
) -> None:
    asked = {"images": "small", "only": "preprocess", "place": place, "warmup_s": 0.2}
    settings = settings_of(asked | {"server": triton.url if place == "server" else None})
    folder = folders.make_folder(tmp_path, settings)
    done = run(tuple(Plan(settings, 1.5).command(folder)))
    assert done.returncode == 0, done.stderr
    found = summary_of(folder)
    assert not found.errors
    assert {"decode", "resize", "normalize"} <= found.stages.keys()
    assert "inference" not in found.stages
    assert ("send" in found.stages) == (place == "server")
    assert not {one.code for one in found.issues} & {"NO_TRACE", "UNJOINED"}
    assert "only preprocess" in run((*BENCH, "report", folder)).stdout


@pytest.mark.parametrize("transport", ["grpc", "shm"])
def test_inference_alone_goes_by_every_transport(
    triton: triton.Server, tmp_path: Path, transport: str
) -> None:
    settings = alone(transport=transport, server=triton.url)
    folder = execute(Plan(settings, TIMEOUT_S, results=tmp_path), enough=enough(5))
    found = summary_of(folder)
    assert found.requests > 0
    assert not found.errors


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_cut_short_a_run_leaves_what_was_measured_and_no_process(
    tmp_path: Path, how: signal.Signals
) -> None:
    settings = alone(transport="fake", users=2, warmup_s=0.0)
    folder = folders.make_folder(tmp_path, settings)
    whole_command = tuple(Plan(settings, 600).command(folder))
    with started(whole_command, log=tmp_path / "log") as process:
        sampled = folder / records.SAMPLES
        until(lambda: sampled.exists() and len(sampled.read_bytes().splitlines()) > 6, "samples")
        until(lambda: enough(5)(folder), "requests that count")
        everything = family(process)
        process.send_signal(how)
        wait_gone(everything)
        assert not alive(everything)
    assert read_manifest(folder).window_end_ns
    assert summary_of(folder).requests > 0


def test_a_server_that_is_away_is_an_error_with_its_address(tmp_path: Path) -> None:
    settings = alone(server="127.0.0.1:9")
    done = run(tuple(Plan(settings, 1).command(folders.make_folder(tmp_path, settings))))
    assert done.returncode == 1
    assert "error: Triton is not ready at 127.0.0.1:9" in done.stderr


def test_the_tables_kept_in_the_docs_say_what_depth_is_and_name_no_path() -> None:
    for path in (ROOT / "docs" / "results").glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert "depth" not in text or "untrained" in text, path
        assert not re.search(r"(?<![\w.])/(tmp|work|home|root)/", text), path


def test_the_server_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    options = ("--images", TENSOR, "--warmup", "0s", "--duration", "1s", "--results", tmp_path)
    sizes = ("--inference-instances", "3", "--preprocess-instances", "1", "--threads", "2")
    done = run(BENCH, "run", "classification", *options, *sizes)
    assert done.returncode in (0, 4), done.stderr
    (folder,) = tmp_path.iterdir()
    manifest = read_manifest(folder)
    assert manifest.served["mobilenetv2"] == Served(instances=3, threads=2)
    assert (manifest.settings.inference_instances, manifest.settings.threads) == (3, 2)
