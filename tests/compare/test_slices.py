"""An experiment's folder as observations, from requests made by hand."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from experiments import (
    MS,
    STAGES,
    S,
    manifest,
    planted,
    request,
    slices,
    without,
    write_experiment,
    write_run,
)

from bench.compare.observations import Observations, Watch, read_experiment
from pipelines.errors import ResultsError
from pipelines.spans import Call, Request


def observe(folder: Path) -> Observations:
    return Watch(folder).look()


def told(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "ab.json").read_text())
    return found


def tell(folder: Path, **changes: object) -> Path:
    """Change what the experiment says of itself."""
    (folder / "ab.json").write_text(json.dumps(told(folder) | changes))
    return folder


def test_each_block_has_a_ratio_of_every_metric(tmp_path: Path) -> None:
    seen = observe(write_experiment(tmp_path, planted))
    assert seen.counts == (20, 20)
    assert seen.metrics == [
        *("throughput", "mean", "p50", "p95", "p99"),
        *("stage.decode", "stage.inference", "stage.postprocess"),
    ]
    for name in ("mean", "p50", "p95", "p99"):
        assert seen.a[name] == pytest.approx(np.full(20, 100))
        assert seen.logs(name) == pytest.approx(np.full(20, np.log(1.3)))
    assert seen.logs("stage.decode") == pytest.approx(np.full(20, np.log(2)))
    assert seen.logs("stage.inference") == pytest.approx(np.zeros(20))


def test_a_slice_counts_what_was_due_and_ended_in_it_once_it_had_settled(tmp_path: Path) -> None:
    seen = observe(write_experiment(tmp_path, lambda *_: {"inference": 80.0}, blocks=1))
    # Due at 0, 80, 160 ... 960 ms. Those due from 100 ms on and over by 1000 count for latency,
    # and for throughput what ended in these 900 ms, the one due at 80 ms with them.
    assert seen.a["throughput"] == pytest.approx([11 / 0.9])
    late = tmp_path / "late"
    seen = observe(write_experiment(late, lambda *_: {"inference": 80.0}, blocks=1, settle_s=0.161))
    assert seen.a["throughput"] == pytest.approx([10 / 0.839])


def test_a_request_that_outlasts_its_slice_does_not_count(tmp_path: Path) -> None:
    write_experiment(tmp_path, lambda *_: {"inference": 300.0}, blocks=1)
    # Over at 300, 600 and 900 ms; the fourth ends after the slice.
    assert observe(tmp_path).a["throughput"] == pytest.approx([3 / 0.9])


def test_percentiles_are_of_both_slices_of_a_side(tmp_path: Path) -> None:
    turns = iter(range(10_000))
    seen = observe(
        write_experiment(tmp_path, lambda *_: {"inference": 10.0 + next(turns) % 3}, blocks=1)
    )
    assert 10 < seen.a["mean"][0] < 12
    assert (seen.a["p50"][0], seen.a["p99"][0]) == pytest.approx((11, 12))


def test_only_whole_blocks_count(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, blocks=5)
    cut = told(folder)["slices"][:-1]  # type: ignore[index]
    assert observe(tell(folder, slices=cut)).counts == (4, 4)
    with pytest.raises(ResultsError, match="has no whole block of 4 slices"):
        observe(tell(folder, slices=cut[:3]))


def test_a_block_in_which_a_side_finished_nothing_is_left_out(tmp_path: Path) -> None:
    seen = observe(write_experiment(tmp_path, without("b", 3), blocks=6))
    assert seen.left_out == (3,)
    assert seen.counts == (5, 5)
    assert seen.logs("mean") == pytest.approx(np.zeros(5))


@pytest.mark.parametrize("silent", ["a", "b"])
def test_a_side_that_finished_nothing_is_an_error_that_names_it(
    tmp_path: Path, silent: str
) -> None:
    folder = write_experiment(tmp_path, without(silent))
    with pytest.raises(ResultsError, match=f"{silent.upper()} finished no request") as caught:
        observe(folder)
    assert f"bench report {folder / silent}" in caught.value.hint


def test_a_stage_of_one_side_only_has_no_ratio(tmp_path: Path) -> None:
    boxed = {"preprocess": 40.0, "inference": 60.0}
    seen = observe(write_experiment(tmp_path, lambda side, _: STAGES if side == "a" else boxed))
    assert "stage.preprocess" in seen.metrics
    assert len(seen.logs("stage.preprocess")) == 0
    assert (seen.b["stage.decode"] == 0).all()


def test_a_run_that_goes_on_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, blocks=4)
    for side in "ab":
        going_on = manifest(side, window_end_ns=None)
        (folder / side / "manifest.json").write_bytes(msgspec.json.encode(going_on))
        with (folder / side / "requests-1.jsonl").open("ab") as file:
            file.write(b'{"id": "cut')
    whole = told(folder)
    (folder / "ab.json").write_text(
        json.dumps({key: whole[key] for key in ("schema", "a", "b", "settle_s", "slices")})
    )
    assert observe(folder).counts == (4, 4)
    assert read_experiment(folder).stopped is None


EVENTS_MS = {
    "REQUEST_START": 10,
    "QUEUE_START": 10,
    "COMPUTE_START": 20,
    "COMPUTE_INPUT_END": 20,
    "COMPUTE_OUTPUT_START": 90,
    "COMPUTE_END": 90,
    "HTTP_SEND_START": 90,
    "HTTP_SEND_END": 95,
}


def traced(number: int, due_ns: int) -> tuple[Request, list[dict[str, object]]]:
    """A request of 100 ms, and what Triton's trace says of it."""
    made = request(number, due_ns, {"other": 100})
    made.spans.clear()
    made.calls.append(Call(made.id, due_ns, made.end_ns))
    head = {"id": number + 1, "model_name": "dnn", "request_id": made.id}
    stamps = [{"name": name, "ns": due_ns + ms * MS} for name, ms in EVENTS_MS.items()]
    return made, [head, *({"id": number + 1, "timestamps": [stamp]} for stamp in stamps)]


def test_stages_are_of_the_requests_that_have_a_trace(tmp_path: Path) -> None:
    """Parts of Triton's trace serve until there is the whole one; what they lack is left out."""
    turns = slices(1)
    for side in "ab":
        pairs = [traced(n, turn["start_ns"] + 200 * MS) for n, turn in enumerate(turns)]
        settings = manifest(side, transport="http", stages={"dnn": "inference"})
        folder = write_run(tmp_path / side, settings, [made for made, _ in pairs])
        items = [item for _, items in pairs for item in items]
        text = json.dumps(items, separators=(",", ":"))
        # The file was cut off in mid-write: the last request, A's second, has no whole trace.
        (folder / "trace.json.0").write_text(text[: text.rindex("COMPUTE_END")])
    said = {"schema": 1, "a": "", "b": "", "settle_s": 0.1, "slices": turns}
    (tmp_path / "ab.json").write_text(json.dumps(said))
    seen = observe(tmp_path)
    assert seen.a["mean"] == pytest.approx([100])
    for side in (seen.a, seen.b):
        assert side["stage.inference"] == pytest.approx([70])
        assert side["stage.queue"] == pytest.approx([10])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read"),
        ("[]", "cannot read"),
        ("{}", "has schema None; this version reads up to 1"),
        ('{"schema": 2}', "has schema 2; this version reads up to 1"),
        ('{"schema": 1}', "is damaged"),
        ('{"schema": 1, "a": "", "b": "", "settle_s": 0, "slices": [{"side": "c"}]}', "is damaged"),
    ],
)
def test_what_is_no_experiment_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "ab.json").write_text(text)
    with pytest.raises(ResultsError, match=words):
        observe(tmp_path)


def test_a_folder_without_an_experiment_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"it has no ab\.json") as caught:
        read_experiment(tmp_path)
    assert "bench ab" in caught.value.hint


def test_a_slice_is_a_second_of_the_clock_of_the_requests(tmp_path: Path) -> None:
    first = read_experiment(write_experiment(tmp_path)).slices[0]
    assert (first.side, first.start_ns, first.end_ns) == ("a", 0, S)
