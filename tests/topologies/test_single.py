"""A task's answer is right, and the same, by every way, place and transport."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chains import asking
from networks import photograph
from pictures import encode

from bench.prepare.repository import models_of
from bench.record.scenario import Settings
from pipelines.preprocess.choose import WAYS
from pipelines.servers import control, triton

# The face without the hair, and a flag, as rows and columns.
FACE, FLAG = np.s_[75:165, 185:255], np.s_[0:120, 0:60]


@pytest.fixture(scope="module")
def astronaut() -> bytes:
    """A portrait, 512 x 512."""
    return encode(photograph("astronaut"), quality=92)


def shows_her(mask: Any) -> bool:
    return mask.shape == (512, 512) and (mask[FACE] == 255).all() and (mask[FLAG] == 0).all()


def has_her_face(boxes: Any) -> bool:
    ((left, top, right, bottom, *_),) = boxes
    rows, columns = FACE
    return left < columns.start < columns.stop < right and top < rows.start < rows.stop < bottom


def is_a_map(depth: Any) -> bool:
    return depth.shape == (512, 512) and depth.std() > 0.1


def pixels_that_differ(mask: Any, other: Any) -> float:
    return float((mask != other).mean())


def farthest(boxes: Any, others: Any) -> float:
    return float(np.abs(boxes - others).max())


def not_explained(depth: Any, other: Any) -> float:
    return 1 - float(np.corrcoef(depth.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize(
    ("task", "right", "distance", "near"),
    [
        ("segmentation", shows_her, pixels_that_differ, 0.02),
        ("detection", has_her_face, farthest, 4),
        ("depth", is_a_map, not_explained, 0.02),
    ],
    ids=["segmentation", "detection", "depth"],
)
def test_every_path_to_the_network_gives_the_same_right_answer(
    triton: triton.Server,
    astronaut: bytes,
    task: str,
    right: Callable[[Any], bool],
    distance: Callable[[Any, Any], float],
    near: float,
) -> None:
    control.load(triton.url, models_of([task]))
    answers: dict[str, list[Any]] = {way: [] for way in WAYS}
    for way, place, transport in itertools.product(
        WAYS, ("server", "client"), ("http", "grpc", "shm")
    ):
        settings = Settings(
            pipeline=task, server=triton.url, preprocess=way, place=place, transport=transport
        )
        with asking(settings) as ask:
            answers[way].append(ask(astronaut, request_id="t").answer)
    for answer, *same in answers.values():
        assert right(answer)
        assert all(np.array_equal(answer, other) for other in same)
        assert distance(answer, answers["opencv"][0]) < near
