"""What cannot decode fewer pixels is refused, with the cure; what can, is told in the request."""

from typing import Any

import pytest
from pictures import GOOD

from bench.record.scenario import Settings, settings_of
from pipelines.engines.engine import FakeEngine
from pipelines.errors import VisiontaxError
from pipelines.topologies.asking import Single
from pipelines.topologies.names import UNKNOWN

SCALED: dict[str, Any] = {"decode": "scaled"}


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        ({"preprocess": "dali"}, "dali decodes images in full size only", "--decode full"),
        ({"preprocess": UNKNOWN}, "no scaled decoding", "--decode full"),
        ({"transport": "plain"}, "no scaled decoding", "--decode full"),
        ({"pipeline": "faces", "topology": "fused"}, "a chain's crops", "--decode full"),
        ({"pipeline": "text", "topology": "direct", "place": "client"}, "crops", "--decode full"),
    ],
)
def test_what_cannot_is_refused(given: dict[str, Any], words: str, hint: str) -> None:
    with pytest.raises(VisiontaxError, match=words) as error:
        Settings(**given, **SCALED).check()
    assert hint in error.value.hint
    Settings(**given).check()


@pytest.mark.parametrize("decode", ["careful", "scaled"])
def test_what_can_is_not(decode: str) -> None:
    for given in (
        {},
        {"place": "client", "preprocess": "pillow"},
        {"preprocess": "simplejpeg", "transport": "shm", "only": "preprocess"},
        {"pipeline": "text", "topology": "redis-streams"},
        {"served_by": "fastapi"},
    ):
        Settings(**given, decode=decode).check()


def test_inference_alone_decodes_nothing() -> None:
    assert settings_of({"images": "tensor", **SCALED}).decode == "full"


@pytest.mark.parametrize(
    ("given", "parameters"),
    [({}, None), (SCALED, SCALED), ({"place": "client", **SCALED}, None)],
)
def test_only_a_server_that_decodes_is_told(
    given: dict[str, Any], parameters: dict[str, str] | None
) -> None:
    told: list[Any] = []

    class Told(FakeEngine):
        def infer(self, *args: Any, **how: Any) -> Any:
            told.append(how.get("parameters"))
            return super().infer(*args, **how)

    Single(Told(0.0), Settings(**given))(GOOD, request_id="t")
    assert told == [parameters]
