"""The matrix: what runs in which order, inference alone on the real server, and what is shown."""

import csv
import io
import itertools
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_up import MadeUp
from processes import BENCH, ROOT, alive, family, refused, run, started, until, wait_gone
from summaries import failed, summary

from bench.commands.measuring import matrix as command
from bench.commands.measuring.matrix import PIPELINES, alone, places_of
from bench.ledger.grid import ALONE, Matrix, MatrixPoint, matrix_of
from bench.ledger.reading import summary_of
from bench.ledger.summary import Latency, Summary
from bench.record import folders, machine, records
from bench.record.records import read_requests
from bench.record.scenario import Settings
from bench.report.grid import FORMATS, HEADS, render, rows
from bench.runs.order import in_turn
from bench.runs.run import Plan
from pipelines import tasks
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import triton
from pipelines.servers.device import CPU, parse

HOSTILE = "<script>alert(1)</script>\x1b[31m|`@all`\u202e'\"{{ 7*7 }}"
PLACES = ("client", "server", "server-gpu")


def ran(pipeline: str, images: str, place: str, /, users: int = 1, **changes: Any) -> Summary:
    """A run; without preprocessing, that is alone, it is twice as fast."""
    ms = changes.pop("ms", 5.0 if place == ALONE else 10.0)
    shown: dict[str, Any] = {
        "run": f"{pipeline}-{images}-{place}-{users}",
        "pipeline": pipeline,
        "images": images,
        "preprocess": "none" if place == ALONE else "dali",
        "place": place,
        "transport": "http",
        "users": users,
        "throughput_per_s": 1000 * users / ms,
        "latency_ms": Latency(mean=ms, p50=ms, p90=ms, p95=ms, p99=3 * ms, max=4 * ms),
    }
    return summary(**shown | changes)


def whole() -> list[Summary]:
    points = [("tensor", ALONE), *itertools.product(("small", "medium", "large"), PLACES)]
    kinds = itertools.product(PIPELINES, (1, 16))
    return [ran(pipeline, *point, users) for pipeline, users in kinds for point in points]


def point_of(found: Matrix, *key: object) -> MatrixPoint:
    (one,) = [p for p in found.points if (p.pipeline, p.images, p.place, p.users) == key]
    return one


# What is asked for


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--users=many", "not numbers of users: 'many'; write 1,16"),
        ("--users=1,0", "not numbers of users"),
        ("--users=,", "not numbers of users"),
        ("--pipeline=faces", "unknown: 'faces'; known: classification"),
        ("--place=nowhere", "unknown: 'nowhere'"),
        ("--device=tpu", "not a device: 'tpu'"),
        ("--rounds=0", "--rounds"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(option: str, words: str) -> None:
    refused("matrix", option, code=2, words=words)


def test_chains_have_no_inference_alone() -> None:
    assert [name for name in tasks.PIPELINES if not tasks.is_chain(name)] == list(PIPELINES)


def test_the_gpu_preprocesses_where_there_is_one_and_dali_does_it() -> None:
    assert places_of(CPU, preprocess="dali") == ["server", "client"]
    assert places_of(parse("gpu"), preprocess="dali") == ["server", "server-gpu", "client"]
    assert places_of(parse("gpu"), preprocess="opencv") == ["server", "client"]


@pytest.mark.parametrize("seed", range(5))
def test_every_round_covers_all_and_what_is_compared_follows_each_other(seed: int) -> None:
    groups = [["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2", "c3"]]
    order = in_turn(groups, rounds=3, seed=seed)
    everything = sorted(itertools.chain(*groups))
    rounds = [order[at : at + 8] for at in range(0, len(order), 8)]
    assert [sorted(one) for one in rounds] == [everything] * 3
    for one in rounds:
        assert len(list(itertools.groupby(one, key=lambda name: name[0]))) == len(groups)
    assert rounds[0] != rounds[1] != rounds[2]
    assert order == in_turn(groups, rounds=3, seed=seed)


# What was found


def test_numbers_are_medians_and_throughput_a_share_of_that_of_inference_alone() -> None:
    runs = [ran("detection", "small", "client", 4, ms=ms) for ms in (10, 20, 80)]
    lone = [ran("detection", "tensor", ALONE, 4, ms=ms) for ms in (5, 4, 10)]
    found = matrix_of([*runs, *lone, ran("detection", "tensor", ALONE, 1, ms=1)], device="cpu")
    point = point_of(found, "detection", "small", "client", 4)
    assert (point.images_per_s, point.mean_ms, point.p99_ms) == (200, 20, 60)
    assert point.of_alone == 200 / 800
    assert point.folders == [one.run for one in runs]
    assert point_of(found, "detection", "tensor", ALONE, 4).of_alone == 1


def test_the_order_of_the_runs_does_not_matter() -> None:
    found, reversed_ = matrix_of(whole(), device="cpu"), matrix_of(whole()[::-1], device="cpu")
    assert msgspec.structs.replace(reversed_, runs=found.runs) == found
    keys = [(p.pipeline, p.users, p.images, p.place) for p in found.points]
    assert keys == [(s.pipeline, s.users, s.images, s.place) for s in whole()]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "there are none"),
        ([ran("depth", "a", "client"), ran("depth", "b", "client", transport="shm")], "transport"),
        ([ran("depth", "a", "client"), ran("depth", "b", "client", machine="x")], "machine"),
        ([ran("depth", "a", "client"), ran("depth", "b", "client", preprocess="x")], "preprocess"),
    ],
)
def test_runs_that_do_not_belong_together_are_no_matrix(runs: list[Summary], words: str) -> None:
    with pytest.raises(VisiontaxError, match=words):
        matrix_of(runs, device="cpu")


def test_what_was_not_measured_is_a_dash() -> None:
    lost = ran("depth", "small", "client", latency_ms=None, throughput_per_s=0.0, valid=False)
    lost = msgspec.structs.replace(lost, non_inference_share=failed().non_inference_share)
    (row,) = rows(matrix_of([lost], device="cpu"))
    assert row[4:7] + row[8:] == ["0!", "-", "-", "-"]


# The table


def test_the_table_fits_a_hundred_columns_and_holds_every_point() -> None:
    runs = [msgspec.structs.replace(one, throughput_per_s=123456.0, valid=False) for one in whole()]
    text = render(matrix_of(runs, device="gpu:0, NVIDIA H100 80GB HBM3"), format="text")
    assert max(map(len, text.splitlines())) <= 100
    assert len(re.findall(r"\d!", text)) == 5 * len(runs)
    assert "80 of 80 runs INVALID" in text.replace("\n", " ")
    assert "gpu:0, NVIDIA H100" in text


@pytest.mark.parametrize("format", ["text", "md", "csv"])
def test_depth_is_said_to_be_untrained(format: str) -> None:
    text = render(matrix_of(whole(), device="cpu"), format=format)
    assert text.count("depth") == text.count("depth (untrained)") + (
        text.count("depth-") if format == "csv" else 0
    )


@pytest.mark.parametrize("format", ["text", "md"])
def test_invalid_points_are_marked_and_what_is_compared_with_them(format: str) -> None:
    runs = [
        ran("detection", "tensor", ALONE, valid=False),
        ran("detection", "small", "client"),
        ran("detection", "tensor", ALONE, 8),
        ran("detection", "small", "client", 8),
    ]
    text = render(matrix_of(runs, device="cpu"), format=format)
    marked = [line.count("!") for line in text.splitlines() if "detection" in line]
    assert marked == [5, 1, 0, 0]
    assert "INVALID" not in render(matrix_of(runs[2:], device="cpu"), format=format)


def test_csv_holds_the_points_in_full_and_names_their_runs() -> None:
    found = matrix_of(whole(), device="cpu")
    table = list(csv.DictReader(io.StringIO(render(found, format="csv"))))
    assert list(table[0]) == list(MatrixPoint.__struct_fields__)
    for row, point in zip(table, found.points, strict=True):
        assert float(row["images_per_s"]) == point.images_per_s
        assert row["folders"].split() == point.folders


def test_json_holds_everything() -> None:
    found = matrix_of(whole(), device="cpu", note="at night")
    assert msgspec.json.decode(render(found, format="json"), type=Matrix) == found


@pytest.mark.parametrize("format", ["text", "md"])
def test_the_note_is_shown(format: str) -> None:
    assert "at night" in render(matrix_of(whole(), device="cpu", note="at night"), format=format)


def test_a_hostile_name_is_only_text() -> None:
    found = matrix_of(
        [ran("depth", HOSTILE, "client", machine=HOSTILE, run=HOSTILE)], device="cpu", note=HOSTILE
    )
    for format in ("text", "md", "csv"):
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", render(found, format=format))
    assert "<script" not in render(found, format="md").replace("\\<", "")
    row = render(found, format="md").splitlines()[6]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(HEADS) + 1


@pytest.mark.parametrize(
    ("cpu", "gpus", "name"),
    [
        ("AMD EPYC 9R14", [], "amd-epyc-9r14"),
        ("AMD EPYC 9654 96-Core Processor", [], "amd-epyc-9654"),
        ("Intel(R) Xeon(R) Platinum 8480C CPU @ 2.0GHz", [], "intel-xeon-platinum-8480c"),
        ("AMD EPYC", ["NVIDIA H100 80GB HBM3"], "amd-epyc-nvidia-h100-80gb-hbm3"),
        ("AMD EPYC", ["NVIDIA L4", "NVIDIA L4"], "amd-epyc-nvidia-l4"),
        ("../?", [], "unknown"),
    ],
)
def test_results_are_named_after_the_machine(cpu: str, gpus: list[str], name: str) -> None:
    assert machine.file_name(cpu, gpus) == name


# Inference alone, for real


def test_inference_alone_is_a_run_whose_time_is_inference_and_transport(
    triton: triton.Server, tmp_path: Path
) -> None:
    settings = alone(Settings(users=2, warmup_s=0.2, server=triton.url))
    folder = folders.make_folder(tmp_path, settings)
    done = run(tuple(Plan(settings, 2.5).command(folder)))
    assert done.returncode == 0, done.stderr
    found = summary_of(folder)
    untrusted = {issue.code for issue in found.issues if issue.invalid}
    assert untrusted <= {"GENERATOR_LATE"}, found.issues  # as it is where others take the cores
    assert (found.images, found.preprocess, found.place) == ("tensor", "none", "none")
    assert found.stages["inference"].share > 0
    assert not {"decode", "resize", "normalize"} & found.stages.keys()
    assert found.generator_cpu_share
    manifest = records.read_manifest(folder)
    assert (manifest.image_sizes["width"], manifest.image_sizes["height"]) == (224, 224)
    inside = [
        request
        for request in read_requests(folder)
        if manifest.window_start_ns <= request.end_ns < (manifest.window_end_ns or 0)
    ]
    assert found.throughput_per_s == pytest.approx(len(inside) / found.duration_s, rel=0.1)


@pytest.mark.parametrize("transport", ["grpc", "shm"])
def test_inference_alone_goes_by_every_transport(
    triton: triton.Server, tmp_path: Path, transport: str
) -> None:
    settings = alone(Settings(transport=transport, warmup_s=0.2, server=triton.url))
    folder = folders.make_folder(tmp_path, settings)
    done = run(tuple(Plan(settings, 0.5).command(folder)))
    assert done.returncode == 0, done.stderr
    found = summary_of(folder)
    assert found.requests > 0
    assert not found.errors


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_cut_short_it_leaves_what_was_measured_and_no_process(
    tmp_path: Path, asked: signal.Signals
) -> None:
    settings = alone(Settings(transport="fake", users=2, warmup_s=0.0))
    folder = folders.make_folder(tmp_path, settings)
    whole_command = tuple(Plan(settings, 60).command(folder))
    with started(whole_command, log=tmp_path / "log") as process:
        sampled = folder / records.SAMPLES
        until(lambda: sampled.exists() and len(sampled.read_bytes().splitlines()) > 6, "load")
        everything = family(process)
        process.send_signal(asked)
        wait_gone(everything)
        assert not alive(everything)
    assert records.read_manifest(folder).window_end_ns
    assert summary_of(folder).requests > 0


def test_a_server_that_is_away_is_an_error_with_its_address(tmp_path: Path) -> None:
    settings = alone(Settings(server="127.0.0.1:9"))
    done = run(tuple(Plan(settings, 1).command(folders.make_folder(tmp_path, settings))))
    assert done.returncode == 1
    assert "error: Triton is not ready at 127.0.0.1:9" in done.stderr


def test_a_matrix_on_the_fake_engine(tmp_path: Path) -> None:
    done = run(
        BENCH,
        *("matrix", "--transport", "fake", "--pipeline", "classification", "--images", "small"),
        *("--preprocess", "opencv", "--place", "client", "--users", "2", "--duration", "1s"),
        *("--warmup", "0s", "--results", tmp_path / "runs", "--output", tmp_path / "out"),
    )
    assert done.returncode in (0, 4), done.stderr
    assert len(list((tmp_path / "runs").iterdir())) == 2
    (table,) = (tmp_path / "out").glob("*.csv")
    found = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["place"] for row in found] == ["none", "client"]
    for row in found:
        stored = summary_of(tmp_path / "runs" / row["folders"])
        assert float(row["images_per_s"]) == stored.throughput_per_s


# The command, its runs made up


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeUp:
    def summary_of(chosen: Settings, run: str) -> Summary:
        assert chosen.alone == (chosen.place == ALONE)
        return ran(
            *(chosen.pipeline, chosen.images, chosen.place, chosen.users),
            run=run,
            preprocess=chosen.preprocess,
            transport=chosen.transport,
        )

    it = MadeUp(monkeypatch, ["matrix"], tmp_path, summary_of)
    monkeypatch.setattr(command, "need_images", it.build)
    return it


def test_it_makes_every_run_beside_inference_alone(made_up: MadeUp) -> None:
    found = made_up.invoke("--rounds", "2")
    assert found.return_value == 0
    assert list(made_up.built) == ["small", "medium", "large"]
    assert len(made_up.plans) == 2 * 4 * 2 * (3 * 2 + 1)
    assert {plan.settings.server for plan in made_up.plans} == {"there:8000"}
    assert len({plan.title for plan in made_up.plans}) == len(made_up.plans) / 2
    assert found.stderr.count("results: ") == len(made_up.plans)
    table = [line for line in found.stdout.splitlines() if line.startswith(PIPELINES)]
    assert len(table) == len(made_up.plans) / 2
    assert table[1].split()[-1] == "50.0"


def test_settings_reach_every_run(made_up: MadeUp) -> None:
    made_up.invoke(
        *("--pipeline", "depth", "--images", "large", "--place", "client", "--users", "7"),
        *("--preprocess", "opencv", "--transport", "grpc", "--duration", "9s", "--warmup", "3s"),
        *("--seed", "11"),
    )
    for plan in made_up.plans:
        chosen = plan.settings
        assert (plan.duration_s, chosen.warmup_s, chosen.users, chosen.seed) == (9, 3, 7, 11)
        assert (chosen.pipeline, chosen.transport) == ("depth", "grpc")
    assert sorted((p.settings.images, p.settings.preprocess) for p in made_up.plans) == [
        ("large", "opencv"),
        ("tensor", "none"),
    ]


def test_on_a_gpu_its_place_is_measured_and_its_name_is_in_the_files(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command.device, "present", lambda: ["NVIDIA Made Up"])
    found = made_up.invoke("--device", "gpu", "--output", str(tmp_path / "out"))
    assert found.return_value == 0
    assert "server-gpu" in {plan.settings.place for plan in made_up.plans}
    assert {plan.settings.device for plan in made_up.plans} == {"gpu:0"}
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(Path(name).suffix for name in names) == [".csv", ".md"]
    assert all("-nvidia-made-up." in name for name in names)
    assert "NVIDIA Made Up" in found.stdout


def test_a_gpu_that_is_not_there_is_an_error_before_anything_runs(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.device, "present", list)
    found = made_up.invoke("--device", "gpu")
    assert isinstance(found.exception, ServerError)
    assert not made_up.plans
    assert not made_up.built


def test_an_invalid_run_makes_the_exit_code_4(made_up: MadeUp) -> None:
    made_up.invalid = frozenset({ALONE})
    found = made_up.invoke("--pipeline", "depth", "--users", "1")
    assert found.return_value == 4
    assert "1 of 7 runs INVALID" in found.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    "fault", [KeyboardInterrupt(), ServerError("Triton stopped answering")], ids=["Ctrl-C", "fail"]
)
def test_what_was_measured_until_it_was_cut_short_is_shown_and_written(
    made_up: MadeUp, tmp_path: Path, fault: BaseException
) -> None:
    made_up.fail_at = (3, fault)
    found = made_up.invoke("--output", str(tmp_path / "out"))
    assert found.exception is not None
    assert found.stderr.count("results: ") == 3
    assert len([line for line in found.stdout.splitlines() if line.startswith(PIPELINES)]) == 3
    (table,) = (tmp_path / "out").glob("*.csv")
    assert len(table.read_text().splitlines()) == 4


def test_cut_short_before_anything_was_measured_nothing_is_shown(
    made_up: MadeUp, tmp_path: Path
) -> None:
    made_up.fail_at = (0, ServerError("Triton stopped answering"))
    found = made_up.invoke("--output", str(tmp_path / "out"))
    assert isinstance(found.exception, ServerError)
    assert not found.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_offered(made_up: MadeUp, format: str) -> None:
    found = made_up.invoke("--pipeline", "detection", "--users", "1", "--format", format)
    assert found.return_value == 0
    assert "detection" in found.stdout


# The page


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`\n]+)`", text))
    assert {*Matrix.__struct_fields__, *MatrixPoint.__struct_fields__} <= told
    assert set(HEADS) <= told
    assert "untrained" in text


def test_the_command_lines_of_the_page_parse() -> None:
    text = (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^bench matrix (.*)$", text, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        command.command.make_context("matrix", line.split())


def test_the_tables_kept_there_say_what_depth_is_and_name_no_path() -> None:
    kept = [*(ROOT / "docs" / "results").glob("*.*")]
    for path in kept:
        text = path.read_text(encoding="utf-8")
        assert "depth" not in text or "untrained" in text, path
        assert not re.search(r"(?<![\w.])/(tmp|work|home|root)/", text), path
