"""Whatever is sent, each way gives a tensor or a clear error, and all ways give the same one.

The ways agree when, over an image, pixels differ by at most 4 of 255 levels in the mean and 25 at
the 99th percentile: they average differently when they shrink, so sharp edges differ most.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drop_ins import drop_in, instance
from pictures import (
    BAD,
    GOOD,
    ODD,
    ORIENTED,
    encode,
    exif_of,
    photograph,
    rotated,
    with_segments,
    without_tables,
)

from bench.prepare.images.sets import images_of
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import EngineError, ImageError
from pipelines.preprocess import formats
from pipelines.preprocess.choose import WAYS
from pipelines.preprocess.ways import lacks, preprocessor
from pipelines.servers import triton
from pipelines.tasks import task
from pipelines.tasks.tensors import IMAGENET_DEVIATION, Tensor, TensorSpec
from pipelines.topologies.asking import Single
from pipelines.topologies.scenario import Setup

MEAN_LEVELS, P99_LEVELS = 4, 25
INPUT = task("classification").dnn.input
SHAPE = (3, INPUT.height, INPUT.width)
LOGITS = TensorSpec("logits", np.float32, (1, 1000))
TENSOR = TensorSpec("tensor", np.float32, (1, *SHAPE))


@pytest.fixture(scope="module")
def ways() -> dict[str, Any]:
    return {way: preprocessor(way, INPUT) for way in WAYS}


@pytest.fixture
def http(triton: triton.Server) -> Iterator[HttpEngine]:
    with closing(HttpEngine(triton.url)) as engine:
        yield engine


def ask(http: HttpEngine, model: str, image: bytes, spec: TensorSpec) -> Any:
    """Return the model's output for one image."""
    inputs = {"jpeg": np.frombuffer(image, np.uint8)[None]}
    return http.infer(model, inputs, outputs=[spec], request_id="test").outputs[spec.name][0]


def reads(way: str, image: bytes) -> bool:
    """Whether the way reads the image's format as it is installed here."""
    return formats.admitted(image).format not in lacks(way)


def assert_agree(tensors: dict[str, Tensor]) -> None:
    levels = 255 * np.array(IMAGENET_DEVIATION).reshape(3, 1, 1)
    for (one, a), (other, b) in itertools.combinations(tensors.items(), 2):
        differences = np.abs(a - b) * levels
        assert differences.mean() <= MEAN_LEVELS, (one, other)
        assert np.percentile(differences, 99) <= P99_LEVELS, (one, other)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_a_clear_error_in_every_way(ways: dict[str, Any], name: str) -> None:
    image, words = BAD[name]
    for preprocess in ways.values():
        with pytest.raises(ImageError, match=words):
            preprocess(image)
        assert preprocess(GOOD).tensor.shape == SHAPE  # the next one gets its result


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_gives_the_same_tensor_in_every_way(ways: dict[str, Any], name: str) -> None:
    tensors = {way: ways[way](ODD[name]).tensor for way in WAYS if reads(way, ODD[name])}
    assert tensors.keys() >= {"opencv", "dali"}
    for tensor in tensors.values():
        assert tensor.shape == SHAPE
        assert tensor.dtype == np.float32
        assert np.isfinite(tensor).all()
    assert_agree(tensors)


def test_the_ways_agree_on_photographs(ways: dict[str, Any]) -> None:
    for path in images_of("medium").paths:
        image = path.read_bytes()
        assert_agree({way: preprocess(image).tensor for way, preprocess in ways.items()})


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("way", WAYS)
def test_a_rotated_photograph_stands_upright(way: str, orientation: int) -> None:
    preprocess = preprocessor(way, INPUT)
    upright = encode(photograph(), quality=95)
    turned = rotated(photograph(), orientation)
    assert_agree({"upright": preprocess(upright).tensor, "turned": preprocess(turned).tensor})


@pytest.mark.parametrize("exif", ORIENTED)
@pytest.mark.parametrize("way", WAYS)
def test_of_what_exif_says_only_one_reading_counts(way: str, exif: str) -> None:
    """The first orientation that stands in a SHORT or a LONG, whatever the library would read."""
    segments, orientation = ORIENTED[exif]
    preprocess = preprocessor(way, INPUT)
    odd, plain = with_segments(GOOD, *segments), with_segments(GOOD, exif_of(orientation))
    np.testing.assert_array_equal(preprocess(odd).tensor, preprocess(plain).tensor)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_exif_does_not_cost_the_pixels(way: str) -> None:
    broken = b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff"
    preprocess = preprocessor(way, INPUT)
    damaged = GOOD[:2] + broken + GOOD[2:]
    assert_agree({"with": preprocess(damaged).tensor, "without": preprocess(GOOD).tensor})


def test_the_limit_is_on_pixels_not_on_a_side() -> None:
    wide = encode(photograph().convert("L").resize((65000, 1)))
    assert formats.admitted(wide) == (wide, "JPEG", 65000, 1, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BAD)
def test_the_server_refuses_a_bad_image_and_serves_the_next(
    http: HttpEngine, name: str, way: str
) -> None:
    image, words = BAD[name]
    with pytest.raises(EngineError, match=words):
        ask(http, f"classification_{way}", image, LOGITS)
    assert ask(http, f"classification_{way}", GOOD, LOGITS).shape == (1000,)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ODD)
def test_the_server_gives_what_the_way_gives_here(
    http: HttpEngine, ways: dict[str, Any], name: str, way: str
) -> None:
    if not reads(way, ODD[name]):
        with pytest.raises(EngineError, match="cannot decode the image"):
            ask(http, f"classification_{way}", ODD[name], LOGITS)
        return
    served = ask(http, f"preprocess_classification_{way}", ODD[name], TENSOR)
    np.testing.assert_array_equal(served, ways[way](ODD[name]).tensor)
    assert np.isfinite(ask(http, f"classification_{way}", ODD[name], LOGITS)).all()


def test_the_ways_agree_on_what_is_in_a_photograph(http: HttpEngine) -> None:
    pipelines = [Single(http, Setup(preprocess=way)) for way in WAYS]
    answers = []
    for path in images_of("medium").paths[:8]:
        image = path.read_bytes()
        answers.append([pipeline(image, request_id="t").answer[0][0] for pipeline in pipelines])
    assert all(len(set(classes)) == 1 for classes in answers), answers


@pytest.mark.parametrize("way", WAYS)
def test_bad_images_fail_alone_among_concurrent_requests(triton: triton.Server, way: str) -> None:
    """Many at once, so that the scheduler puts good and bad ones into one batch."""
    poison = without_tables(GOOD)
    images = [poison if number % 5 == 2 else GOOD for number in range(80)]

    def one(image: bytes) -> str:
        with closing(HttpEngine(triton.url)) as engine:
            try:
                return str(ask(engine, f"classification_{way}", image, LOGITS).shape)
            except EngineError as error:
                return str(error)

    with ThreadPoolExecutor(16) as users:
        answers = list(users.map(one, images))
    for image, answer in zip(images, answers, strict=True):
        assert answer == "(1000,)" if image is GOOD else "cannot decode the image" in answer


@pytest.fixture
def dali_model(monkeypatch: pytest.MonkeyPatch, triton_parts: None) -> Any:  # noqa: ARG001
    """The dali drop-in itself, outside the server, so that a test decides what is in a batch."""
    module = drop_in(
        *("dali", monkeypatch),
        get_input_tensor_by_name=lambda request, name: request[name],
        TritonError=str,
        InferenceResponse=lambda outputs=(), error=None: SimpleNamespace(
            outputs=list(outputs), error=error
        ),
        Tensor=SimpleNamespace(from_dlpack=lambda _, array: np.from_dlpack(array)),
    )
    model = module.TritonPythonModel()
    model.initialize(instance("preprocess_classification_dali"))
    return model


def test_a_poison_image_in_a_dali_batch_fails_only_itself(dali_model: Any) -> None:
    batch = [GOOD, without_tables(GOOD), ODD["grayscale"], b"", GOOD, without_tables(GOOD)]
    requests = [{"jpeg": np.frombuffer(image, np.uint8).copy()} for image in batch]
    for _ in range(2):  # and so it does the next time
        responses = dali_model.execute(requests)
        errors = [response.error for response in responses]
        assert [bool(error) for error in errors] == [False, True, False, True, False, True]
        assert "cannot decode the image" in errors[1]
        preprocess = preprocessor("dali", INPUT)
        for number in (0, 2, 4):
            tensor, _ = responses[number].outputs
            np.testing.assert_array_equal(tensor[0], preprocess(batch[number]).tensor)
