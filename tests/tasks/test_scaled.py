"""A scaled decode is as good as a full one: nearly the same tensor, of the same part of the image,
by every way that can, here and by every transport.

Nearly: 8 of 255 levels in the mean on photographs full of edges, which libjpeg averages otherwise.
"""

import itertools
from contextlib import closing
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import BAD, ODD, by_opencv, encode, rotated
from PIL import Image, ImageDraw

from bench.prepare.images.sets import images_of
from pipelines.engines.choose import endpoint, engine
from pipelines.errors import ImageError, VisiontaxError
from pipelines.preprocess import formats
from pipelines.preprocess.choose import FULL, SCALED, SCALING, WAYS
from pipelines.preprocess.ways import divided, divisor, lacks, preprocessor
from pipelines.servers import triton
from pipelines.tasks import task
from pipelines.tasks.tensors import ModelInput, TensorSpec

TASKS = ("classification", "segmentation", "detection")
LEVELS = 8
SIZES = [(640, 481), (1283, 971), (450, 3000), (2047, 2049), (257, 256), (9, 2001)]


def model_input(name: str = "classification") -> ModelInput:
    return task(name).dnn.input


def apart(one: Any, other: Any, wanted: ModelInput) -> float:
    """How many of 255 levels two tensors differ in the mean."""
    scale = np.reshape(wanted.deviation, (-1, 1, 1)) * 255 / wanted.range
    return float((np.abs(one - other) * scale).mean())


def scene(width: int, height: int) -> Image.Image:
    """A smooth picture that shows which way is up, and where its parts lie."""
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    picture = Image.fromarray(np.stack([across, down, 255 - across], 2).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((width // 3, height // 4, width // 2, height // 2), "white")
    return picture


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("way", SCALING)
def test_a_photograph_gives_nearly_the_same_tensor(way: str, name: str) -> None:
    wanted = model_input(name)
    full, scaled = (preprocessor(way, wanted, decode=how) for how in (FULL, SCALED))
    image = images_of("large").paths[0].read_bytes()
    one, other = full(image), scaled(image)
    assert 0 < apart(one.tensor, other.tensor, wanted) < LEVELS
    assert one.size == other.size
    assert [span.stage for span in one.spans] == [span.stage for span in other.spans]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("way", SCALING)
def test_a_turned_image_is_cut_where_it_is_upright(way: str, orientation: int) -> None:
    for name in ("classification", "segmentation"):
        wanted = model_input(name)
        scaled = preprocessor(way, wanted, decode=SCALED)
        upright = preprocessor(way, wanted)(encode(scene(800, 602), quality=95))
        turned = scaled(rotated(scene(800, 602), orientation))
        assert turned.size == upright.size == (800, 602)
        assert apart(turned.tensor, upright.tensor, wanted) < 2


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("way", SCALING)
def test_odd_sizes_shrink_in_both_directions_still(way: str, size: tuple[int, int]) -> None:
    image = encode(scene(*size), quality=95)
    for name in TASKS:
        wanted = model_input(name)
        place = wanted.place(*size)
        by = divisor(place, shrinks=1)
        part = divided(place, by)
        if by > 1:
            assert part.width > place.to_width
            assert part.height > place.to_height
            assert (part.left + part.width, part.top + part.height) <= (
                -(-size[0] // by),
                -(-size[1] // by),
            )
        one, other = (preprocessor(way, wanted, decode=how)(image) for how in (FULL, SCALED))
        assert one.size == other.size == size
        assert apart(one.tensor, other.tensor, wanted) < 2


def test_the_divisor_is_the_largest_that_leaves_something_to_shrink() -> None:
    wanted = model_input()  # the central 7/8, to 224
    sides = {256: 1, 512: 1, 516: 2, 1030: 4, 2056: 8, 9000: 8}
    assert {side: divisor(wanted.place(side, side), shrinks=1) for side in sides} == sides
    careful = {1030: 1, 1540: 2, 3080: 4, 6160: 8}
    assert {side: divisor(wanted.place(side, side), shrinks=3) for side in careful} == careful


@pytest.mark.parametrize("way", SCALING)
def test_what_is_read_and_what_is_refused_is_the_same(way: str) -> None:
    scaled, full = (preprocessor(way, model_input(), decode=how) for how in (SCALED, FULL))
    for image, words in BAD.values():
        with pytest.raises(ImageError, match=words):
            scaled(image)
    for name, image in ODD.items():
        if formats.admitted(image).format in lacks(way):
            continue
        # Of images too small to be scaled the tensor is the very same.
        assert np.array_equal(scaled(image).tensor, full(image).tensor), name


@pytest.mark.parametrize("kind", ["cmyk", "grayscale", "progressive", "png", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("way", SCALING)
def test_every_kind_of_large_image_gives_nearly_the_same_tensor(way: str, kind: str) -> None:
    picture = scene(1400, 1100)
    data = {
        "cmyk": lambda: encode(picture.convert("CMYK"), quality=95),
        "grayscale": lambda: encode(picture.convert("L"), quality=95),
        "progressive": lambda: encode(picture, progressive=True, quality=95),
        "webp": lambda: by_opencv(".webp", np.asarray(picture), cv2.IMWRITE_WEBP_QUALITY, 90),
    }.get(kind, lambda: encode(picture, kind.upper()))()
    if formats.admitted(data).format in lacks(way):
        return
    one, other = (preprocessor(way, model_input(), decode=how)(data) for how in (FULL, SCALED))
    assert apart(one.tensor, other.tensor, model_input()) < 2
    assert one.size == other.size


def test_dali_says_that_it_cannot() -> None:
    with pytest.raises(VisiontaxError, match="dali decodes images in full size only") as error:
        preprocessor("dali", model_input(), decode=SCALED)
    assert "--preprocess opencv, pillow or simplejpeg" in error.value.hint
    assert set(WAYS) - set(SCALING) == {"dali"}


def test_the_request_tells_the_server(triton: triton.Server) -> None:
    """By each transport, through the ensemble, to the model that preprocesses."""
    wanted = model_input()
    data = images_of("large").paths[0].read_bytes()
    inputs = {"jpeg": np.frombuffer(data, np.uint8)[None]}
    logits = TensorSpec("logits", np.float32, (1, 1000))
    tensor = TensorSpec("tensor", np.float32, (1, *wanted.shape))
    for way, transport in itertools.product(("opencv", "simplejpeg"), ("http", "grpc", "shm")):
        with closing(engine(transport, endpoint(transport, triton.url))) as asked:

            def ask(model: str, spec: TensorSpec, decode: str) -> Any:
                how = {"request_id": "t", "parameters": {"decode": decode}}
                return asked.infer(model, inputs, outputs=[spec], **how).outputs[spec.name][0]

            for decode in (FULL, SCALED):
                here = preprocessor(way, wanted, decode=decode)(data).tensor
                there = ask(f"preprocess_classification_{way}", tensor, decode)
                np.testing.assert_array_equal(there, here)
            full, scaled = (ask(f"classification_{way}", logits, how) for how in (FULL, SCALED))
            assert not np.array_equal(full, scaled)
