"""When requests are due: the right distributions, at the right rates, and shared without a loss."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from need import need
from queueing import distance

from bench.generator.schedules import frames, rates, replay
from bench.generator.schedules.arrivals import ARRIVALS, CV, Arrivals
from bench.generator.schedules.pictures import Draw, Pictures
from bench.generator.schedules.schedule import AtRate, Due, Replayed, Times, share
from pipelines.errors import VisiontaxError


def moments(schedule: Times, count: int, *, part: int = 0, parts: int = 1) -> np.ndarray:
    """When the first requests of a part are due, in seconds."""
    found = itertools.islice(share(schedule, part=part, parts=parts), count)
    return np.array([due.due_ns for due in found]) / 1e9


def first(requests: Iterator[Due], until_ns: int) -> list[int]:
    """When those are due that are so before a moment, in ns."""
    return [due.due_ns for due in itertools.takewhile(lambda due: due.due_ns < until_ns, requests)]


@pytest.mark.parametrize("kind", ARRIVALS)
def test_arrivals_have_the_rate_and_are_the_same_for_a_seed(kind: str) -> None:
    due = moments(AtRate("200/s", kind, seed=3), 50_000)
    assert (np.diff(due) >= 0).all()
    assert len(due) / due[-1] == pytest.approx(200, rel=0.05)
    assert (due == moments(AtRate("200/s", kind, seed=3), 50_000)).all()
    if kind != "constant":
        assert (due != moments(AtRate("200/s", kind, seed=4), 50_000)).any()


def test_the_gaps_are_of_their_kind() -> None:
    assert distance(np.diff(moments(AtRate("50/s", "poisson", seed=1), 20_000)), 50) < 1
    assert distance(np.diff(moments(AtRate("50/s", "bursty", seed=1), 20_000)), 50) > 10
    gaps = np.diff(moments(AtRate("50/s", "bursty", seed=1), 100_000))
    assert gaps.std() / gaps.mean() == pytest.approx(CV, rel=0.05)
    assert np.ptp(np.diff(moments(AtRate("50/s", "constant", seed=1), 1000))) < 1e-8


def test_blocks_are_asked_for_in_any_order() -> None:
    far, near = Arrivals("poisson", seed=1), Arrivals("poisson", seed=1)
    last = far.times(7)
    for block in range(7):
        near.times(block)
    assert (near.times(7) == last).all()


def test_images_come_in_rounds_and_those_of_a_mix_by_weight() -> None:
    rounds = [Pictures(5, seed=[1])(number) for number in range(5000)]
    assert all(sorted(rounds[at : at + 5]) == [*range(5)] for at in range(0, 5000, 5))
    weights = [0.35, 0.35, 0.3]
    mix = Pictures(3, seed=[1], weights=weights)
    drawn = [mix(number) for number in range(20_000)]
    assert np.bincount(drawn) / 20_000 == pytest.approx(weights, abs=0.015)
    assert drawn[7000] == Pictures(3, seed=[1], weights=weights)(7000)
    assert drawn != [Pictures(3, seed=[2], weights=weights)(number) for number in range(20_000)]


def test_requests_are_of_a_pipeline_by_weight_and_go_through_its_images() -> None:
    pictures = {"a": Pictures(4, seed=[1]), "b": Pictures(8, seed=[1], first=4)}
    draw = Draw({"a": 2.1, "b": 0.9}, pictures, seed=[1])
    drawn = [draw(number) for number in range(20_000)]
    for many in (500, 5_000, 20_000):
        share = sum(name == "a" for name, _ in drawn[:many]) / many
        assert share == pytest.approx(0.7, abs=4.5 * (0.21 / many) ** 0.5)
    images = Counter(drawn)
    assert sorted(images) == [*(("a", i) for i in range(4)), *(("b", i) for i in range(4, 12))]
    for (name, _), times in images.items():
        assert times == pytest.approx(3500 if name == "a" else 750, rel=0.2)
    assert drawn[7000] == Draw({"a": 2.1, "b": 0.9}, pictures, seed=[1])(7000)
    assert drawn != [Draw({"a": 2.1, "b": 0.9}, pictures, seed=[2])(n) for n in range(20_000)]


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_share_the_schedule_without_a_loss(parts: int) -> None:
    schedule = AtRate("100/s", "poisson", seed=1)
    whole = moments(schedule, 6000)
    each = [moments(schedule, 6000 // parts, part=n, parts=parts) for n in range(parts)]
    assert (np.sort(np.concatenate(each)) == whole).all()


def test_poisson_stays_poisson_when_a_process_joins_and_another_dies() -> None:
    schedule = AtRate("100/s", "poisson", seed=1)
    found: list[int] = []
    since = 0
    for parts, until in ((2, 20_000_000_000), (3, 60_000_000_000), (1, 200_000_000_000)):
        for part in range(parts):
            mine = share(schedule, part=part, parts=parts, since_ns=since)
            found += first(mine, until)
        since = until
    due = np.sort(np.array(found)) / 1e9
    assert (due == moments(schedule, len(due))).all()
    assert distance(np.diff(due), 100) < 1


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("120/s", {(0, 10): 1200, (10, 20): 1200}),
        ("2/m", {(0, 600): 20}),
        ("0/s..100/s in 10s", {(0, 5): 125, (5, 10): 375, (10, 11): 100}),
        ("100/s..20/s in 10s", {(0, 5): 400, (5, 10): 200, (20, 30): 200}),
        ("10/s for 5s, 0/s for 5s, 40/s", {(0, 5): 50, (5, 10): 0, (10, 20): 400}),
        ("400/s on 1s off 3s", {(0, 1): 400, (1, 4): 0, (4, 5): 400, (40, 48): 800}),
    ],
)
def test_a_rate_over_time(text: str, counts: dict[tuple[float, float], int]) -> None:
    due = moments(AtRate(text, "constant", seed=1), 20_000)
    for (start, end), wanted in counts.items():
        assert abs(int(((due >= start) & (due < end)).sum()) - wanted) <= 1, (start, end)
    rate = rates.parse(text)
    for start, end in counts:
        middle = np.linspace(start, end, 1001)[:-1]
        mean = np.mean([rate.at(moment) for moment in middle]) * (end - start)
        assert mean == pytest.approx(counts[start, end], rel=0.01, abs=1)


@pytest.mark.parametrize(
    "text",
    [
        *("", "fast", "0/s", "-1/s", "5", "5/x", "5/s for", "5/s for 0s", "5/s.. in 2s"),
        *("5/s..0/s in 2s", "1/s for 3s, nothing", "0/s on 1s off 1s", "1/s on 0s off 1s"),
    ],
)
def test_what_is_no_rate_is_said_with_examples(text: str) -> None:
    with pytest.raises(VisiontaxError) as error:
        rates.parse(text)
    assert "400/s on 1s off 3s" in error.value.hint or "not a duration" in str(error.value)


def test_unknown_arrivals_are_said_with_the_known_ones() -> None:
    with pytest.raises(VisiontaxError) as error:
        Arrivals("sometimes", seed=1)
    assert error.value.hint == "known: poisson, constant, bursty"


def test_cameras_give_a_frame_each_at_their_rate() -> None:
    schedule = frames.Frames("4@25", seed=1)
    due = moments(schedule, 4000)
    assert len(due) / (due[-1] - due[0]) == pytest.approx(100, rel=0.01)
    for camera in range(4):
        assert np.diff(due[camera::4]) == pytest.approx(1 / 25)
    with pytest.raises(VisiontaxError, match="not cameras: '0@5'"):
        frames.parse("0@5")


def test_recorded_arrivals_come_again(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("time_s,image\n12.5,b.jpg\n10,a.jpg\n\n10.25,\n")
    schedule = Replayed(path)
    assert [*moments(schedule, 9)] == [0.0, 0.25, 2.5]
    assert schedule.images == ["a.jpg", "", "b.jpg"]
    path.write_text("time_s\n" + "".join(f"{number / 100}\n" for number in range(3000)))
    assert len(moments(Replayed(path), 9999)) == 3000


def test_recorded_arrivals_may_be_parquet(tmp_path: Path) -> None:
    """With the package; without it the cure is said. A bad row is named as a bad line is."""
    path = tmp_path / "arrivals"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(VisiontaxError) as error:
            replay.read(path)
    assert "pip install 'visiontax[parquet]'" in error.value.hint
    need("pyarrow")
    with pytest.raises(VisiontaxError, match="cannot be read: "):
        replay.read(path)
    import pyarrow
    from pyarrow import parquet

    def write(**columns: list[object]) -> Path:
        parquet.write_table(pyarrow.table(columns), path)
        return path

    schedule = Replayed(
        write(time_s=[12.5, 10, 10.25], image=["b.jpg", "a.jpg", None], more=[1, 2, 3])
    )
    assert [*moments(schedule, 9)] == [0.0, 0.25, 2.5]
    assert schedule.images == ["a.jpg", "", "b.jpg"]
    assert len(moments(Replayed(write(time_s=[*range(3000)])), 9999)) == 3000
    for columns, words in (
        ({"when": [1.0]}, "has no column time_s"),
        ({"time_s": []}, "has no arrivals"),
        ({"time_s": [1.0, None]}, "row 2: time_s is no number of seconds: None"),
        ({"time_s": ["1", "soon"]}, "row 2: time_s is no number of seconds: 'soon'"),
    ):
        with pytest.raises(VisiontaxError, match=words):
            replay.read(write(**columns))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1 has no column time_s"),
        ("when\n1\n", "line 1 has no column time_s"),
        ("time_s\n", "has no arrivals"),
        ("time_s\n1\nsoon\n", "line 3: time_s is no number of seconds: 'soon'"),
        ("time_s\n1\nnan\n", "line 3: time_s is no number of seconds"),
        ("image,time_s\na.jpg\n", "line 2: time_s is no number of seconds: None"),
    ],
)
def test_a_malformed_file_names_the_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(text)
    with pytest.raises(VisiontaxError) as error:
        replay.read(path)
    assert words in str(error.value)


def test_a_file_that_is_none_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"time_s\n\xff\xfe\n")
    for name in ("nothing", ".", "bytes"):
        with pytest.raises(VisiontaxError, match="cannot be read"):
            replay.read(tmp_path / name)
