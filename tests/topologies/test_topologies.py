"""What a run may ask for, the models it then asks, and where they preprocess."""

import pytest

from bench.prepare.repository import models_of
from pipelines.engines.choose import engine
from pipelines.errors import VisiontaxError
from pipelines.servers.device import parse
from pipelines.tasks import served
from pipelines.topologies.choose import models, stages
from pipelines.topologies.names import PLACES
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.scenario import Setup
from pipelines.topologies.steps import FirstStage


def setup(pipeline: str, *, preprocess: str, place: str, topology: str | None = None) -> Setup:
    return Setup(
        pipeline=pipeline, preprocess=preprocess, place=place, transport="fake", topology=topology
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("server", {"mobilenetv2", "classification_dali"}),
        ("server-gpu", {"mobilenetv2", "classification_dali_gpu"}),
        ("client", {"mobilenetv2"}),
    ],
)
def test_each_place_asks_its_own_models(place: str, expected: set[str]) -> None:
    chosen = setup("classification", preprocess="dali", place=place)
    chosen.check()
    assert set(models(chosen)) == expected


def test_a_chain_asks_them_too() -> None:
    chosen = setup("faces", preprocess="dali", place="server-gpu", topology="direct")
    chosen.check()
    assert set(models(chosen)) == {"centerface", "detection_dali_gpu", "mobilefacenet"}


@pytest.mark.parametrize("preprocess", ["opencv", "pillow"])
def test_only_dali_preprocesses_on_a_gpu(preprocess: str) -> None:
    with pytest.raises(VisiontaxError, match=f"with dali, not with {preprocess}") as raised:
        setup("classification", preprocess=preprocess, place="server-gpu").check()
    assert "--preprocess dali" in raised.value.hint


@pytest.mark.parametrize("place", [place for place in PLACES if place != "server"])
def test_fused_preprocesses_on_the_servers_cpu(place: str) -> None:
    with pytest.raises(VisiontaxError, match="on the server's CPU") as raised:
        setup("faces", preprocess="dali", place=place, topology="fused").check()
    assert "--place server" in raised.value.hint


def test_the_ledger_knows_the_models_of_both_places() -> None:
    named = stages(Setup(pipeline="depth", preprocess="dali"))
    for place in ("server", "server-gpu"):
        assert named[served.preprocessing("depth", "dali", place=place)] == "preprocess"
    assert named["depth_untrained"] == "inference"
    by_opencv = stages(Setup(pipeline="depth", preprocess="opencv"))
    assert not any(map(served.preprocesses_on_gpu, by_opencv))


def test_the_models_of_a_gpu_are_known_by_their_names() -> None:
    for name in (served.preprocessing, served.ensemble):
        assert served.preprocesses_on_gpu(name("depth", "dali", place="server-gpu"))
        assert not served.preprocesses_on_gpu(name("depth", "dali"))


def test_a_server_on_a_gpu_serves_both_places() -> None:
    on_cpu, on_gpu = (set(models_of(["faces"], on=parse(text))) for text in ("cpu", "gpu"))
    assert on_gpu - on_cpu == {"detection_dali_gpu"}
    assert on_cpu < on_gpu


def test_the_ensemble_of_the_gpu_takes_the_jpeg() -> None:
    asked = engine("fake", "", service_s=0.001)
    called: list[str] = []
    real = asked.infer
    asked.infer = lambda model, *rest, **named: called.append(model) or real(model, *rest, **named)
    chosen = setup("classification", preprocess="dali", place="server-gpu")
    ask = FirstStage(asked, chosen, where="client")
    outcome = Outcome(None)
    _, pixels = ask(b"a JPEG", request_id="t", outcome=outcome)
    assert called == ["classification_dali_gpu"]
    assert pixels is None
    assert "decode" not in {span.stage for span in outcome.spans}
