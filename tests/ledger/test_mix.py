"""What a mix comes to: by pipeline, and by the images' size class and format, from a ledger made by
hand.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from experiments import MS

from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.ledger.mix import Group, by_pipeline, groups
from bench.record.records import Image

SMALL = Image("a.jpg", "JPEG", 300, 200, 9)
LARGE = Image("b.jpg", "JPEG", 4000, 3000, 9)
DRAWN = Image("c.png", "PNG", 640, 480, 9)


def mixed(*took_ms: tuple[int, float]) -> Ledger:
    """Requests with that image, half of whose time is decode and half inference."""
    times = np.zeros((len(took_ms), len(COLUMNS)), np.int64)
    for row, (_, ms) in enumerate(took_ms):
        for stage in ("decode", "inference"):
            times[row, COLUMNS.index(stage)] = round(ms / 2 * MS)
    due, known = np.arange(len(took_ms)), np.ones(len(took_ms), bool)
    images = np.array([image for image, _ in took_ms], np.int64)
    return Ledger(due, due + times.sum(axis=1), times, times, known, images)


def test_requests_are_told_apart_by_the_size_and_the_format_of_their_image() -> None:
    counted = mixed((0, 2), (0, 4), (1, 90), (2, 10))
    found = groups(counted, [SMALL, LARGE, DRAWN], failed=Counter({2: 3, -1: 1}))
    assert [(one.by, one.name, one.requests, one.errors, one.mean_ms) for one in found] == [
        ("size", "below 0.1 MP", 2, 0, pytest.approx(3)),
        ("size", "0.1 to 1 MP", 4, 3, pytest.approx(10)),
        ("size", "from 10 MP", 1, 0, pytest.approx(90)),
        ("format", "JPEG", 3, 0, pytest.approx(32)),
        ("format", "PNG", 4, 3, pytest.approx(10)),
    ]
    assert found[0].preprocess_ms == pytest.approx(1.5)
    assert found[0].non_inference_share == pytest.approx(0.5)


def test_images_of_one_size_and_format_are_no_mix() -> None:
    assert groups(mixed((0, 2), (1, 3)), [SMALL, SMALL], failed=Counter()) == []
    assert groups(mixed((-1, 2)), [], failed=Counter()) == []


def test_a_group_without_success_has_no_times() -> None:
    found = groups(mixed((0, 2)), [SMALL, DRAWN], failed=Counter({1: 2}))
    drawn = Group(by="format", name="PNG", images=1, requests=2, errors=2)
    assert found[-1] == drawn


def test_requests_without_a_known_image_belong_to_no_group() -> None:
    found = groups(mixed((-1, 2), (0, 4)), [SMALL, DRAWN], failed=Counter())
    assert [one.requests for one in found if one.by == "format"] == [1, 0]


def test_requests_are_told_apart_by_their_pipeline() -> None:
    asked = mixed((0, 2), (0, 4), (1, 90), (-1, 10))
    asked = replace(asked, pipeline=np.array([0, 0, 2, 2]), pipelines=("b", "gone", "a"))
    found = by_pipeline(asked, failed=Counter({"gone": 3, "a": 1}))
    assert [(one.by, one.name, one.images, one.requests, one.errors) for one in found] == [
        ("pipeline", "a", 1, 3, 1),
        ("pipeline", "b", 1, 2, 0),
        ("pipeline", "gone", 0, 3, 3),
    ]
    assert [one.mean_ms for one in found] == [pytest.approx(50), pytest.approx(3), None]
    assert found[1].preprocess_ms == pytest.approx(1.5)
    assert found[1].non_inference_share == pytest.approx(0.5)
    alone = replace(asked, pipeline=np.zeros(4, np.int64), pipelines=("b",))
    assert by_pipeline(alone, failed=Counter({"b": 1})) == []
