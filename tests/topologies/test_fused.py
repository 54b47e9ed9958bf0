"""One DNN without an ensemble, of pixels, with an encoded answer: the same answers by every way;
what does not go together is refused.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains import asking, picture, recorded, tracing
from runs import assert_less

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.attribution.table import COLUMNS
from bench.record import trace
from bench.record.scenario import Settings, parts, settings_of
from pipelines.errors import VisiontaxError
from pipelines.servers import control, triton
from pipelines.spans import OTHER
from pipelines.topologies import choose

OTHER_LESS_THAN = 0.02
"""Of a request's time: on a busy machine it may also have to wait for a core where no span is."""
IMAGE = "faces-5"

FUSED, ENCODED = {"topology": "fused"}, {"topology": "fused", "answers": "encoded"}
PIXELS, SENT = {"normalize": "dnn"}, {"normalize": "dnn", "place": "client"}
BY_SHM = {"transport": "shm"}

# Not all at once, but each of each.
COMBINED = [
    ("classification", "opencv", FUSED),
    ("classification", "opencv", ENCODED | BY_SHM),
    ("classification", "pillow", PIXELS),
    ("classification", "dali", FUSED | PIXELS),
    ("classification", "dali", SENT | BY_SHM),
    ("segmentation", "opencv", ENCODED),
    ("segmentation", "opencv", SENT),
    ("detection", "opencv", FUSED | PIXELS | BY_SHM),
    ("detection", "opencv", ENCODED | PIXELS),
    ("depth", "pillow", FUSED | BY_SHM),
    ("depth", "pillow", ENCODED | {"transport": "grpc"}),
]
NAMES = [f"{name}-{way}-{'-'.join(changes.values())}" for name, way, changes in COMBINED]


def settings(triton: triton.Server, name: str, way: str, changes: dict[str, str]) -> Settings:
    """What to ask, of a server that has what is asked."""
    made = Settings(pipeline=name, preprocess=way, server=triton.url, **changes)
    made.check()
    control.load(triton.url, choose.models(made))
    return made


@pytest.fixture(scope="module")
def plain(triton: triton.Server) -> Any:
    """What the ensembles say, over HTTP."""

    @cache
    def ask(name: str, way: str) -> Any:
        with asking(settings(triton, name, way, {})) as asked:
            return recorded(asked, picture(IMAGE)[0], request_id="plain")

    return ask


@pytest.mark.triton
@pytest.mark.parametrize(("name", "way", "changes"), COMBINED, ids=NAMES)
def test_the_answer_is_that_of_the_ensemble(
    triton: triton.Server, plain: Any, name: str, way: str, changes: dict[str, str]
) -> None:
    expected, request = plain(name, way)
    with asking(settings(triton, name, way, changes)) as asked:
        answer, made = recorded(asked, picture(IMAGE)[0], request_id="other")
    if name == "classification":
        assert [index for index, _ in answer] == [index for index, _ in expected]
        assert [odds for _, odds in answer] == pytest.approx([o for _, o in expected], abs=1e-4)
    else:
        assert (answer.dtype, answer.shape) == (expected.dtype, expected.shape)
        if name == "segmentation":
            assert (answer == expected).mean() > 0.9999
        else:
            close = np.ptp(expected) * 1e-4
            np.testing.assert_allclose(answer, expected, atol=close)
    if "encoded" in changes.values():
        assert made.bytes_out < request.bytes_out / 2
    if changes == SENT:
        assert made.bytes_out == pytest.approx(request.bytes_out, rel=0.1)


@pytest.mark.triton
@pytest.mark.parametrize("changes", [FUSED, ENCODED], ids=["tensors", "encoded"])
def test_its_stages_are_told_and_add_up(
    triton: triton.Server, tmp_path: Path, changes: dict[str, str]
) -> None:
    chosen = settings(triton, "segmentation", "opencv", changes)
    stages = choose.stages(chosen)
    assert stages == {"segmentation_fused_opencv": "inference"}

    def other(turn: int) -> float:
        folder = tmp_path / f"trace-{turn}"
        with asking(chosen) as asked, tracing(triton, folder) as traced:
            made = [recorded(asked, picture(IMAGE)[0], request_id=f"t-{n}")[1] for n in range(8)]
            traced.update(one.id for one in made)
        counted = ledger(records_of(made), trace.read(folder), stages=stages)
        assert counted.joined.all()
        took = [one.end_ns - one.due_ns for one in made]
        np.testing.assert_array_equal(counted.time_ns.sum(axis=1), took)
        median = dict(zip(COLUMNS, np.median(counted.time_ns, axis=0), strict=True))
        told = ("send", "queue", "input", "decode", "resize", "inference", "output", "receive")
        for stage in told:
            assert median[stage] > 0, stage
        assert not median["preprocess"]
        return float(median[OTHER] / np.median(took))

    assert_less(other, OTHER_LESS_THAN)


@pytest.mark.triton
def test_a_bad_image_is_an_error_in_words(triton: triton.Server) -> None:
    with asking(settings(triton, "classification", "opencv", FUSED)) as asked:
        with pytest.raises(VisiontaxError, match="no JPEG, PNG"):
            asked(b"no image", request_id="bad")
        assert asked(picture(IMAGE)[0], request_id="good").answer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topology": "fused", "place": "client"}, "on the server's CPU"),
        ({"topology": "fused", "only": "preprocess"}, "no two steps to fuse"),
        ({"topology": "fused", "served_by": "fastapi"}, "FastAPI does both steps"),
        ({"topology": "direct"}, "has no topology but fused"),
        ({"answers": "encoded"}, "only a fused model"),
        ({"pipeline": "faces", **ENCODED}, "encoded anyway"),
        ({"pipeline": "faces", "topology": "direct", **PIXELS}, "of pipelines of one DNN"),
        ({"served_by": "litserve", **PIXELS}, "which Triton serves"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(VisiontaxError, match=words) as raised:
        Settings(**changes).check()
    assert raised.value.hint


def test_in_a_mix_all_are_fused_and_chains_keep_the_rest() -> None:
    mix = {"pipeline": "depth:1,faces:2", "normalize": "dnn", **ENCODED}
    depth, faces = parts(settings_of(mix)).values()
    assert (depth.topology, depth.normalize, depth.answers) == ("fused", "dnn", "encoded")
    assert (faces.topology, faces.normalize, faces.answers) == ("fused", "preprocess", "tensors")
    assert parts(settings_of({"pipeline": "depth:1,faces:2"}))["depth"].topology is None
