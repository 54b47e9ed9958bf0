"""The same answers from every topology, and by every way, place, transport and form of crops; and
where the time of each went.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from brokers import Services
from chains import asking, picture, recorded, tracing
from runs import assert_less

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.attribution.table import Ledger
from bench.prepare.repository import models_of
from bench.record import trace
from bench.record.scenario import Settings
from bench.runs.equipment import SERVICE_OF, crew
from pipelines.preprocess.choose import WAYS
from pipelines.servers import control, triton
from pipelines.spans import OTHER, Request
from pipelines.tasks import Readings
from pipelines.topologies import choose

FAN_OUTS = (0, 1, 5, 12)
ASKED = (*FAN_OUTS, 1, 0)
OTHER_LESS_THAN = 0.02
"""Of a request's time: on a busy machine it may also have to wait for a core where no span is."""

# Where nothing lossy differs; batches of other sizes may add up in another order.
SAME = 1e-5
# Between ways to preprocess, in pixels of an image of which the DNN sees about every third; and
# the least cosine of two embeddings of one face.
BOX_PIXELS = 12
COSINE = {"way": 0.98, "jpeg": 0.995}

# Not all at once, but each of each.
COMBINED = ("topology", "preprocess", "place", "transport", "crops")
COMBINATIONS = [
    ("direct", "opencv", "client", "grpc", "raw"),
    ("direct", "pillow", "server", "shm", "raw"),
    ("direct", "dali", "client", "shm", "raw"),
    ("fused", "opencv", "server", "http", "raw"),
    ("fused", "dali", "server", "shm", "raw"),
    ("memory", "opencv", "server", "grpc", "reference"),
    ("redis-streams", "dali", "client", "http", "raw"),
    ("redis-lists", "pillow", "server", "shm", "jpeg"),
    ("kafka-tuned", "pillow", "client", "grpc", "reference"),
]
MORE = [
    ("direct", "pillow", "client", "http", "raw"),
    ("direct", "dali", "server", "grpc", "raw"),
    ("fused", "pillow", "server", "grpc", "raw"),
    ("kafka", "opencv", "client", "shm", "jpeg"),
]
"""Asked about one chain: what they combine, Kafka as it comes aside, is above one by one."""

ASKED_ABOUT = [
    pytest.param(chain, combination, id="-".join((chain, *combination)))
    for chain, combinations in (("faces", COMBINATIONS + MORE), ("text", COMBINATIONS))
    for combination in combinations
]


@dataclass(frozen=True)
class Observed:
    """What a chain said about an image of each fan-out, and what asking about all ASKED took."""

    answers: dict[int, Readings]
    requests: list[Request]
    ledger: Ledger


Observe = Callable[..., Observed]


@pytest.fixture(scope="module")
def observe(
    triton: triton.Server, running: Services, tmp_path_factory: pytest.TempPathFactory
) -> Observe:
    """Asks a chain, with the workers that it needs, or remembers what came of that turn."""
    control.load(triton.url, models_of(["faces", "text"]))

    @cache
    def ask(chain: str, *combination: str, turn: int = 0) -> Observed:
        del turn
        chosen = dict(zip(COMBINED, combination, strict=True))
        service = SERVICE_OF.get(chosen["topology"])
        settings = Settings(
            pipeline=chain,
            server=triton.url,
            broker=running.url(service) if service else None,
            claims=running.url("redis") if chosen["crops"] == "reference" else None,
            **chosen,
        )
        return _observed(settings, triton, tmp_path_factory.mktemp("observed") / "trace")

    return ask


def _observed(settings: Settings, triton: triton.Server, folder: Path) -> Observed:
    answers, requests = {}, []
    chain = settings.pipeline
    with crew(settings), asking(settings) as ask, tracing(triton, folder) as traced:
        for number, count in enumerate(ASKED):
            image = picture(f"{chain}-{count}")[0]
            answer, request = recorded(ask, image, request_id=f"t-{number}")
            assert same(answer, answers.setdefault(count, answer))
            requests.append(request)
            traced.update(call.id for call in request.calls)
    stages = choose.stages(settings)
    counted = ledger(records_of(requests), trace.read(folder), stages=stages)
    return Observed(answers, requests, counted)


def plain(observe: Observe, chain: str, way: str) -> dict[int, Readings]:
    """What the chain says, asked over HTTP about images that are preprocessed on the server."""
    return observe(chain, "direct", way, "server", "http", "raw").answers


def same(one: Readings, other: Readings) -> bool:
    """Whether regions and answers are the same but for rounding."""
    if one.regions.shape != other.regions.shape or not near(one.regions, other.regions):
        return False
    if one.chain.name == "text":
        return one.values == other.values
    return near(np.array(one.values), np.array(other.values))


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=0, atol=SAME)


def cosine(one: Readings, other: Readings) -> float:
    """The least cosine of two embeddings of one face."""
    return min([float(a @ b) for a, b in zip(one.values, other.values, strict=True)], default=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chain", ["faces", "text"])
def test_the_fan_out_is_what_the_image_shows_and_the_words_are_read(
    observe: Observe, chain: str, way: str
) -> None:
    for count, found in plain(observe, chain, way).items():
        truth = picture(f"{chain}-{count}")[1]
        assert len(found.regions) == len(found.values) == count
        assert chain == "faces" or found.values == truth.words


@pytest.mark.parametrize("chain", ["faces", "text"])
def test_the_ways_agree(observe: Observe, chain: str) -> None:
    for count in FAN_OUTS[1:]:
        first, *others = (plain(observe, chain, way)[count] for way in WAYS)
        for other in others:
            assert np.abs(other.regions - first.regions).max() < BOX_PIXELS
            assert chain == "text" or cosine(other, first) > COSINE["way"]


@pytest.mark.parametrize(("chain", "combination"), ASKED_ABOUT)
def test_every_topology_answers_the_same(
    observe: Observe, chain: str, combination: tuple[str, ...]
) -> None:
    _, way, _, _, crops = combination
    expected = plain(observe, chain, way)
    for count, found in observe(chain, *combination).answers.items():
        assert len(found.values) == count
        if chain == "faces" and crops == "jpeg":
            assert near(found.regions, expected[count].regions)
            assert cosine(found, expected[count]) > COSINE["jpeg"]
        else:
            assert same(found, expected[count])


@pytest.mark.parametrize(("chain", "combination"), ASKED_ABOUT)
def test_next_to_nothing_of_a_request_is_without_a_stage(
    observe: Observe, chain: str, combination: tuple[str, ...]
) -> None:

    def other(turn: int) -> float:
        counted = observe(chain, *combination, turn=turn).ledger
        assert counted.joined.all()
        assert np.array_equal(counted.time_ns.sum(axis=1), counted.latency_ns)
        return float(np.median(counted.time_of(OTHER) / counted.latency_ns))

    assert_less(other, OTHER_LESS_THAN)
