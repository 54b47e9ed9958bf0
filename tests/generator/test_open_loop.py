"""Requests are asked when they are due, whatever the server does, and none is lost in silence."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from processes import bench, refused
from runs import answered

from bench.generator.schedules.schedule import AtRate, count, share
from bench.ledger.reading import read, summary_of
from bench.ledger.summary import Summary
from bench.record import records
from bench.record.manifest import read_manifest
from bench.record.records import DROPPED
from bench.record.scenario import Settings, settings_of
from bench.runs.run import Plan, execute
from pipelines.spans import Request

FAKE = {"transport": "fake", "images": "small", "warmup_s": 0.0}
SERVICE_S = 0.005
MIX = "small:3,medium:1"


def asked(folder: Path, *, duration_s: float = 1.0, **settings: object) -> Path:
    """Make a run of the fake engine; its folder."""
    return execute(Plan(settings_of(FAKE | settings), duration_s, results=folder))


def service_ns(request: Request) -> int:
    """How long the user was busy with it."""
    return request.end_ns - request.start_ns


def is_mix(folder: Path) -> None:
    """Whether the requests are of MIX, and of all its images."""
    summary = summary_of(folder)
    small, medium = (group.requests for group in summary.mix if group.by == "size")
    share = medium / (small + medium)
    assert share == pytest.approx(0.25, abs=4.5 * (0.1875 / (small + medium)) ** 0.5)
    assert folder.name.endswith(f"-fake-{read_manifest(folder).settings.users}u")
    assert "small-3+medium-1" in folder.name
    names = [image.name for image in records.read_images(folder)]
    assert (names[0], names[-1], len(names)) == ("small/000.jpg", "medium/031.jpg", 64)
    assert (summary.image_px, summary.images) == ((60, 70), MIX)


def codes(summary: Summary) -> set[str]:
    return {issue.code for issue in summary.issues}


def test_under_overload_latency_is_the_delay_in_the_queue(tmp_path: Path) -> None:
    """Twice what one user can take: each waits for all before it, and the closed loop hides it."""
    twice = f"{2 / SERVICE_S:.0f}/s"
    open_loop = {"users": 1, "late": "queue", "rate": twice, "service_s": SERVICE_S}
    for attempt in range(3):  # others' programs disturb a run, not three
        folder = asked(tmp_path / f"open-{attempt}", **open_loop)
        p95_ms, in_theory_ms = p95s_ms(folder)
        assert p95_ms > 0.98 * in_theory_ms
        # What passes between two requests adds up along the queue.
        if p95_ms < 1.2 * in_theory_ms:
            break
    assert p95_ms < 1.2 * in_theory_ms
    reading = read(folder)
    summary = reading.summary()
    assert summary.dropped == 0
    assert summary.requests == reading.manifest.due
    assert summary.offered_per_s == pytest.approx(2 / SERVICE_S, rel=0.15)
    assert (reading.ledger.time_ns.sum(axis=1) == reading.ledger.latency_ns).all()
    assert max(summary.stages, key=lambda name: summary.stages[name].share) == "queue"
    closed = summary_of(asked(tmp_path / "closed", users=1, service_s=SERVICE_S))
    assert closed.latency_ms
    assert closed.latency_ms.quantiles["p95"].value < p95_ms / 10


def p95s_ms(folder: Path) -> tuple[float, float]:
    """The p95 of a run of one user, and what it is where each waits for all before it."""
    told = answered(folder)
    free_ns, latency = 0, []
    for one in told:
        begins_ns = max(one.due_ns, free_ns)
        free_ns = begins_ns + service_ns(one)
        latency.append(free_ns - one.due_ns)
    reading = read(folder)
    start_ns, end_ns = reading.manifest.window_start_ns, reading.manifest.window_end_ns
    assert end_ns
    window = [ns for ns, one in zip(latency, told, strict=True) if start_ns <= one.due_ns < end_ns]
    latency_ms = reading.summary().latency_ms
    assert latency_ms
    p95 = latency_ms.quantiles["p95"].value
    assert p95
    return p95, float(np.percentile(window, 95)) / 1e6


def test_what_nobody_could_send_is_counted_and_not_delayed(tmp_path: Path) -> None:
    rate = f"{2 / SERVICE_S:.0f}/s"
    folder = asked(tmp_path, users=2, rate=rate, arrivals="bursty", service_s=2 * SERVICE_S)
    summary = summary_of(folder)
    assert "DROPS" in codes(summary)
    assert not summary.valid
    assert summary.dropped > 0
    assert summary.errors == 0
    manifest = read_manifest(folder)
    assert summary.requests == manifest.due
    assert f"{summary.dropped} of {summary.requests} requests were dropped" in str(summary.issues)
    done = bench("report", folder)
    assert re.search(r"[\d,]+ dropped · [\d.]+ offered/s", done.stdout)
    assert f"{rate} bursty" in " ".join(done.stdout.split())
    told = answered(folder)
    late_ns = [one.start_ns - one.due_ns for one in told]
    # In a queue it would soon be half of that.
    assert np.percentile(late_ns, 90) < (told[-1].due_ns - told[0].due_ns) / 10


def test_requests_come_as_the_schedule_says(tmp_path: Path) -> None:
    folder = asked(tmp_path, rate="80/s", seed=5, service_s=0.001, images=MIX)
    schedule = AtRate("80/s", "poisson", seed=5)
    due = np.sort([one.due_ns for one in records.read_requests(folder)])
    planned = [one.due_ns for one, _ in zip(share(schedule, part=0, parts=1), due, strict=False)]
    shift = due - np.array(planned)
    assert np.ptp(shift) == 0
    assert count(schedule, start_ns=planned[0], end_ns=planned[-1] + 1) == len(planned)
    is_mix(folder)
    assert "MISSING" not in codes(summary_of(folder))


def test_a_frame_is_dropped_for_its_successor(tmp_path: Path) -> None:
    """One user, 30 ms a frame, two cameras of 50 a second each: the newest of each is asked."""
    folder = asked(tmp_path, users=1, cameras="2@50", service_s=0.03)
    told = [*records.read_requests(folder)]
    assert {one.error for one in told} == {None, DROPPED}
    sent = answered(folder)
    age_ns = [one.start_ns - one.due_ns for one in sent]
    took_ns = [service_ns(one) for one in sent]
    # Not older than the one that follows, and its wait: in a queue it would be of many.
    assert np.percentile(age_ns, 75) < 3 * np.median(took_ns)
    assert sum(took_ns) > 0.5 * (sent[-1].end_ns - sent[0].start_ns)
    summary = summary_of(folder)
    assert summary.dropped > 0.4 * summary.requests


def test_recorded_arrivals_are_of_their_images(tmp_path: Path) -> None:
    names = ("003.jpg", "001.jpg", "")
    lines = [f"{number / 20},{names[number % 3]}" for number in range(200)]
    (tmp_path / "arrivals.csv").write_text("\n".join(["time_s,image", *lines]))
    folder = asked(tmp_path, replay=str(tmp_path / "arrivals.csv"), service_s=0.001)
    due = sorted(records.read_requests(folder), key=lambda one: one.due_ns)
    images = [one.image for one in due]  # also of those that nobody could send
    assert images[0::3] == [3] * len(images[0::3])
    assert images[1::3] == [1] * len(images[1::3])
    assert len({*images[2::3]}) > 5
    given = ("run", "classification", "--transport", "fake", "--results", tmp_path / "r")
    refused(*given, "--replay", "/nowhere", code=1, words="/nowhere cannot be read")
    (tmp_path / "arrivals.csv").write_text("time_s,image\n0,nothing.jpg\n")
    words = "recorded arrivals are of images that are not in the set: nothing.jpg"
    options = ("--images", "small", "--replay", tmp_path / "arrivals.csv")
    refused(*given, *options, code=1, words=words)


def test_users_who_think_ask_less(tmp_path: Path) -> None:
    closed = {"users": 2, "think_s": 0.02, "service_s": SERVICE_S, "images": MIX}
    folder = asked(tmp_path, **closed)
    assert summary_of(folder).throughput_per_s < 2.2 / (0.02 + SERVICE_S)
    by_user: dict[str, list[Request]] = {}
    for one in answered(folder):
        by_user.setdefault(one.id.rpartition("-")[0], []).append(one)
    assert len(by_user) == 2
    for told in by_user.values():
        assert len(told) > 5
        assert {after.due_ns - before.end_ns for before, after in pairwise(told)} == {20_000_000}
    is_mix(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", "fast"), "not a rate: 'fast'"),
        (("--rate", "0/s"), "at the rate '0/s' nothing comes"),
        (("--cameras", "8"), "not cameras: '8'"),
        (("--images", "small:1,medium"), "of the mix 'small:1,medium' 'medium' has no weight"),
        (("--images", "small:1,large:0"), "of the mix 'small:1,large:0' 'large' has no weight"),
        (("--images", "small:1,small:2"), "in the mix 'small:1,small:2' 'small' comes twice"),
    ],
)
def test_what_cannot_be_read_is_said(options: tuple[str, ...], words: str) -> None:
    refused("run", "classification", "--transport", "fake", *options, code=2, words=words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": "5/s", "cameras": "1@5"}, "rate and cameras each say when requests are due"),
        ({"rate": "5/s", "think_s": 1.0}, "with rate no user thinks"),
    ],
)
def test_what_does_not_go_together_is_said(settings: dict[str, object], words: str) -> None:
    with pytest.raises(Exception, match=words):
        Settings(**(FAKE | settings)).check()


def test_an_open_loop_takes_turns(tmp_path: Path) -> None:
    """Two fakes in A/B blocks: what is due while one is paused is due when it goes on."""
    sides = ("--a", "service=20ms", "--b", "service=40ms")
    options = ("--transport", "fake", "--images", "small", "--rate", "40/s", "--warmup", "500ms")
    timing = ("--slice", "500ms", "--rounds", "6")
    done = bench(
        "ab", "classification:3,detection:1", *sides, *options, *timing, "--results", tmp_path
    )
    assert done.returncode in (0, 4), done.stdout + done.stderr  # 4 where the machine is busy
    assert "schedule 40/s poisson" in " ".join(done.stdout.split())
    assert "DROPS" not in done.stdout
    (folder,) = tmp_path.glob("*-ab")
    usual = {}
    for side, least_ns in (("a", 20e6), ("b", 40e6)):
        told = answered(folder / side)
        usual[side] = np.median([service_ns(one) for one in told])
        assert usual[side] > 0.95 * least_ns
        latency_ns = [one.end_ns - one.due_ns for one in told]
        assert np.percentile(latency_ns, 75) < 2 * usual[side]
    assert usual["b"] > 1.2 * usual["a"]
