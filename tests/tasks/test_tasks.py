"""What the DNNs' outputs mean: of maps with a known answer, and of photographs by the real DNNs."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipelines.errors import ServerError
from pipelines.tasks import Dnn, chain, chains, task, tasks
from pipelines.tasks import text as text_chain
from pipelines.tasks.detection import MOST_FACES, reading_order
from pipelines.tasks.faces import LANDMARKS
from pipelines.tasks.lines import MOST_LINES

Resize = Callable[[Any, tuple[int, int]], Any]
SIZES = [(500, 375), (375, 500), (1, 1), (3000, 1), (1, 3000), (3564, 2880)]

# Parts of the astronaut, as x and y: her face without the hair, the flag, the wall, her suit.
FACE, FLAG, WALL = (185, 75, 255, 165), (0, 0, 60, 120), (320, 0, 360, 120)
SUIT = (100, 300, 300, 450)

LINES = ["Hello World", "vision tax 2024", "INVOICE No. 12345", "Total: 99.50 EUR", "Thank you"]


# ---------------------------------------------------------------- one DNN's outputs, made by hand

faces, lines, mask, depth = (
    task(name).answer for name in ("detection", "lines", "segmentation", "depth")
)
align, embedding, vector = chain("faces").cut, chain("faces").read, chain("faces").value
rectify, words = chain("text").cut, chain("text").read


def outputs_of_faces(*found: tuple[float, float, float, float, float]) -> dict[str, Any]:
    """What CenterFace says of faces (left, top, right, bottom, score) in pixels of its input; the
    landmarks are the box's centre and corners."""
    dnn = task("detection").dnn
    outputs = {spec.name: np.zeros(spec.shape, np.float32) for spec in dnn.outputs}
    for left, top, right, bottom, score in found:
        x, y = (left + right) / 8, (top + bottom) / 8
        cell = (slice(None), int(y), int(x))
        outputs["heatmap"][cell] = score
        outputs["scale"][cell] = np.log([(bottom - top) / 4, (right - left) / 4])
        outputs["offset"][cell] = y - int(y) - 0.5, x - int(x) - 0.5
        outputs["landmarks"][cell] = [0.5, 0.5, 0, 0, 0, 1, 1, 0, 1, 1]
    return outputs


def test_a_face_is_where_the_outputs_say_in_pixels_of_the_image() -> None:
    outputs = outputs_of_faces((101, 50, 141, 110, 0.9))
    expected = [202, 100, 282, 220, 242, 160, 202, 100, 282, 100, 202, 220, 282, 220, 0.9]
    found = faces(outputs, (960, 480))  # twice as large as in the input
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([expected]), rel=1e-5)


def test_of_two_boxes_on_one_face_the_likelier_remains() -> None:
    outputs = outputs_of_faces((100, 100, 160, 180, 0.7), (106, 104, 166, 184, 0.9))
    assert faces(outputs, (480, 480))[:, [0, 14]] == pytest.approx(np.array([[106, 0.9]]))


def test_faces_that_hardly_overlap_both_remain() -> None:
    outputs = outputs_of_faces((100, 100, 160, 180, 0.7), (145, 100, 205, 180, 0.9))
    assert faces(outputs, (480, 480))[:, 0] == pytest.approx([100, 145])


def test_without_faces_there_are_no_rows() -> None:
    found = faces(outputs_of_faces((100, 100, 160, 180, 0.39)), (480, 480))
    assert found.shape == (0, 15)
    assert found.dtype == np.float32


def test_what_lies_beside_the_image_in_the_input_is_no_face() -> None:
    outputs = outputs_of_faces((100, 300, 160, 380, 0.9), (300, 220, 360, 300, 0.9))
    assert len(faces(outputs, (480, 480))) == 2
    assert len(faces(outputs, (480, 240))) == 0


def test_a_face_of_no_size_is_none() -> None:
    outputs = outputs_of_faces((100, 100, 160, 180, 0.9))
    outputs["scale"][:] = -1000
    assert len(faces(outputs, (480, 480))) == 0


def test_a_face_at_the_edge_ends_there_but_its_landmarks_do_not_move() -> None:
    found = faces(outputs_of_faces((-20, 100, 60, 180, 0.9)), (480, 480))
    assert found[0, :4] == pytest.approx([0, 100, 60, 180])
    assert found[0, 4:8] == pytest.approx([20, 140, -20, 100], abs=1e-4)


def test_faces_come_in_rows_and_tremble_without_changing_places() -> None:
    centres = np.array([[300, 108], [100, 100], [200, 92], [50, 260], [400, 251], [225, 400]])
    heights = np.array([60, 80, 100, 90, 60, 60])
    expected = [1, 2, 0, 3, 4, 5]
    random = np.random.default_rng(1)
    for _ in range(50):
        trembling = centres + random.uniform(-2, 2, centres.shape)
        assert list(reading_order(trembling, heights)) == expected


def outputs_of_text(*outlines: Any, probability: float = 0.9) -> dict[str, Any]:
    """What the detector says when each outline (of corners x, y, clockwise) is a line's core."""
    found = np.zeros((1, 480, 480), np.float32)
    y, x = np.mgrid[:480, :480] + 0.5
    for outline in np.array(outlines, np.float64):
        sides = np.roll(outline, -1, axis=0) - outline
        inside = [
            dx * (y - top) - dy * (x - left) >= 0
            for (left, top), (dx, dy) in zip(outline, sides, strict=True)
        ]
        found[0, np.all(inside, axis=0)] = probability
    return {"probability": found}


def upright(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """The corners of a box."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def corners_of(line: Any) -> Any:
    return line[:8].reshape(4, 2)


def slanted(x: float, y: float, width: float, height: float, degrees: float) -> Any:
    """The corners of a rectangle around x, y; clockwise from the one that was the top left."""
    turn = cv2.getRotationMatrix2D((0, 0), -degrees, 1)[:, :2]
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return half @ turn.T + (x, y)


def test_a_line_is_its_core_moved_outwards_in_pixels_of_the_image() -> None:
    found = lines(outputs_of_text(upright(100, 60, 200, 80)), (960, 480))
    # 100 x 20 pixels grow by 100 * 20 * 1.6 / 240 on each side; the image is twice as large.
    by = 2 * 100 * 20 * 1.6 / 240
    expected = upright(200 - by, 120 - by, 400 + by, 160 + by)
    assert found.dtype == np.float32
    assert corners_of(found[0]) == pytest.approx(np.array(expected), abs=0.01)
    assert found[:, 8] == pytest.approx([0.9])


def test_without_lines_there_are_no_rows() -> None:
    found = lines(outputs_of_text(), (480, 480))
    assert found.shape == (0, 9)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "outputs",
    [
        outputs_of_text(upright(100, 60, 200, 62)),
        outputs_of_text(upright(100, 60, 200, 80), probability=0.45),
        outputs_of_text(upright(100, 300, 200, 320)),
    ],
    ids=["a hair", "an unlikely area", "beside the image"],
)
def test_this_is_no_line(outputs: dict[str, Any]) -> None:
    assert len(lines(outputs, (480, 240))) == 0


def test_lines_come_from_top_to_bottom_and_left_to_right() -> None:
    boxes = [(250, 103, 350, 123), (20, 100, 120, 120), (20, 200, 120, 220), (250, 196, 350, 216)]
    found = lines(outputs_of_text(*(upright(*box) for box in boxes)), (480, 480))
    assert [tuple(np.round(corners_of(line).mean(axis=0))) for line in found] == [
        (70, 110),
        (300, 113),
        (70, 210),
        (300, 206),
    ]


@pytest.mark.parametrize("degrees", [-40, -10, 0, 20, 40, 60, 90, 120])
def test_a_line_begins_where_it_is_read_from(degrees: float) -> None:
    found = lines(outputs_of_text(slanted(240, 240, 200, 20, degrees)), (480, 480))
    by = 200 * 20 * 1.6 / 440
    expected = slanted(240, 240, 200 + 2 * by, 20 + 2 * by, degrees)
    assert corners_of(found[0]) == pytest.approx(expected, abs=2)


def test_a_single_character_stands_upright() -> None:
    found = lines(outputs_of_text(upright(100, 100, 120, 125)), (480, 480))
    by = 20 * 25 * 1.6 / 90
    expected = upright(100 - by, 100 - by, 120 + by, 125 + by)
    assert corners_of(found[0]) == pytest.approx(np.array(expected), abs=0.01)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64), (1, 1), (1000, 700)])
def test_a_mask_is_as_large_as_the_image_and_says_yes_or_no(size: tuple[int, int]) -> None:
    width, height = size
    probability = np.zeros((1, 256, 256), np.float32)
    probability[:, :, 128:] = 1
    found = mask({"mask": probability}, size)
    assert found.shape == (height, width)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= {0, 255}
    if width > 1:
        assert (found[:, width // 2 + 4 :] == 255).all()
        assert (found[:, : width // 2 - 4] == 0).all()


def test_the_edge_of_a_mask_is_found_between_the_pixels_of_the_map() -> None:
    probability = np.zeros((1, 256, 256), np.float32)
    probability[:, :, 128:] = 0.6
    found = mask({"mask": probability}, (2560, 16))
    # 0.5 is reached after 5/6 of the way from the middle of pixel 127 to that of 128.
    assert ((found == 255).sum(axis=1) == 2560 - 1283).all()


def test_depth_is_as_large_as_the_image_and_keeps_its_values() -> None:
    ramp = np.tile(np.arange(224, dtype=np.float32), (1, 224, 1))
    found = depth({"depth": ramp}, (448, 100))
    assert found.shape == (100, 448)
    assert found.dtype == np.float32
    assert found[50] == pytest.approx(np.clip((np.arange(448) + 0.5) / 2 - 0.5, 0, 223), abs=0.01)


def noise(spec: Any) -> Any:
    return np.random.default_rng(2).normal(0, 1e3, spec.shape).astype(np.float32)


STRANGE: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda spec: np.zeros(spec.shape, np.float32),
    "ones": lambda spec: np.ones(spec.shape, np.float32),
    "noise": noise,
    "huge": lambda spec: np.full(spec.shape, 3e38, np.float32),
    "not a number": lambda spec: np.full(spec.shape, np.nan, np.float32),
    "some not numbers": lambda spec: np.where(noise(spec) > 2e3, np.nan, noise(spec)),
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("size", SIZES)
def test_strange_outputs_are_answered_too(strange: str, size: tuple[int, int]) -> None:
    width, height = size
    for each in tasks():
        each.answer({spec.name: STRANGE[strange](spec) for spec in each.dnn.outputs}, size)
    for each in chains():
        specs = each.first.dnn.outputs
        regions = each.first.answer({spec.name: STRANGE[strange](spec) for spec in specs}, size)
        assert np.isfinite(regions).all()
        assert len(regions) <= max(MOST_FACES, MOST_LINES)
        image = np.zeros((height, width, 3), np.uint8)
        wanted = (each.second.input.height, each.second.input.width, 3)
        assert all(each.cut(image, region).shape == wanted for region in regions)


def test_of_more_faces_than_can_be_returned_the_likeliest_are() -> None:
    boxes = [(x, y, x + 9, y + 9) for y in range(10, 470, 20) for x in range(10, 470, 20)]
    scores = np.linspace(0.5, 0.9, len(boxes))
    outputs = outputs_of_faces(*((*box, score) for box, score in zip(boxes, scores, strict=True)))
    found = faces(outputs, (480, 480))
    assert np.sort(found[:, 14]) == pytest.approx(scores[-MOST_FACES:])


def test_of_more_lines_than_can_be_returned_the_largest_are() -> None:
    rows = range(10, 470, 20)
    small = [upright(x, y, x + 20, y + 8) for y in rows for x in range(10, 390, 40)]
    large = [upright(400, y, 450, y + 10) for y in rows]
    found = lines(outputs_of_text(*small, *large), (480, 480))
    assert len(small) > len(found) == MOST_LINES
    assert (found[:, 0] > 380).sum() == len(large)


# ---------------------------------------------------------------- crops, and what is read of them


def test_a_face_is_turned_so_that_its_landmarks_lie_where_they_are_expected() -> None:
    turn = cv2.getRotationMatrix2D((0, 0), 25, 2.5)
    there = np.array(LANDMARKS) @ turn[:, :2].T + (300, 250)
    image = np.zeros((700, 800, 3), np.uint8)
    for point in there:
        cv2.circle(image, tuple(int(x) for x in np.rint(point)), 5, (255, 255, 255), -1)
    region = np.array([0, 0, 1, 1, *there.ravel(), 0.9], np.float32)
    crop = align(image, region)
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
    _, _, _, spots = cv2.connectedComponentsWithStats((crop[:, :, 0] > 127).view(np.uint8))
    for landmark in LANDMARKS:
        assert np.linalg.norm(spots[1:] - landmark, axis=1).min() < 0.5
    assert len(spots) == 1 + len(LANDMARKS)


def test_an_embedding_has_unit_length() -> None:
    found = np.random.default_rng(3).normal(0, 5, 192).astype(np.float32)
    packed = vector(embedding({"embedding": found}))
    assert packed.dtype == np.float32
    assert packed == pytest.approx(found / np.linalg.norm(found))
    assert (vector(embedding({"embedding": np.zeros(192, np.float32)})) == 0).all()


def region_of(corners: Any) -> Any:
    return np.array([*np.ravel(corners), 0.9], np.float32)


@pytest.mark.parametrize("degrees", [0, 15, -35, 90])
def test_a_slanted_line_is_cut_out_upright(degrees: float) -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    corners = slanted(200, 200, 160, 48, degrees)
    middle_top, middle_bottom = corners[:2].mean(axis=0), corners[2:].mean(axis=0)
    image = np.zeros((400, 400, 3), np.uint8)
    for color, part in (
        (red, [corners[0], middle_top, middle_bottom, corners[3]]),
        (blue, [middle_top, corners[1], corners[2], middle_bottom]),
    ):
        cv2.fillConvexPoly(image, np.rint(part).astype(np.int32), color)
    line = rectify(image, region_of(corners))
    assert line.shape == (48, 320, 3)
    assert line.dtype == np.uint8
    assert (line[3:-3, 3:76] == red).all()
    assert (line[3:-3, 84:157] == blue).all()
    assert (line[:, 160:] == 127).all()


def test_a_line_that_stays_as_large_as_it_is_stays_as_it_is() -> None:
    image = np.random.default_rng(4).integers(0, 256, (100, 200, 3), np.uint8)
    line = rectify(image, region_of([(20, 30), (120, 30), (120, 78), (20, 78)]))
    assert (line[:, :100] == image[30:78, 20:120]).all()


def test_a_long_line_is_squeezed_and_one_beyond_the_edge_repeats_it() -> None:
    image = np.full((100, 1000, 3), 200, np.uint8)
    image[:, 500:] = 100
    line = rectify(image, region_of([(-20, 20), (1020, 20), (1020, 60), (-20, 60)]))
    assert (line[:, :158] == 200).all()
    assert (line[:, 162:] == 100).all()


@pytest.fixture
def charset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A set of the characters a, b and space."""
    path = tmp_path / "charset.txt"
    path.write_text("a\nb\n \n")
    monkeypatch.setattr(text_chain, "CHARSET", path)
    text_chain.characters.cache_clear()
    yield path
    text_chain.characters.cache_clear()


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ([1, 1, 2, 2, 2], "ab"),
        ([1, 0, 1, 1, 0, 0, 2], "aab"),
        ([0, 0, 0], ""),
        ([], ""),
        ([1, 3, 3, 2], "a b"),
        ([3, 1, 3], "a"),
        ([1, 4, -1, 2], "ab"),
    ],
)
@pytest.mark.usefixtures("charset")
def test_repeats_and_blanks_are_dropped(symbols: list[int], expected: str) -> None:
    assert words({"symbols": np.array(symbols, np.int64)}).decode() == expected


def test_without_the_characters_the_error_says_how_to_get_them(charset: Path) -> None:
    charset.unlink()
    with pytest.raises(ServerError, match="characters") as error:
        words({"symbols": np.zeros(40, np.int64)})
    assert "bench models" in error.value.hint


# ---------------------------------------------------------------- the real DNNs on photographs


def resized(image: Any, to: tuple[int, int]) -> Any:
    shrinks = image.shape[1] > to[0]
    return cv2.resize(image, to, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resized_by_pillow(image: Any, to: tuple[int, int]) -> Any:
    return np.asarray(Image.fromarray(image).resize(to, Image.Resampling.BILINEAR))


def ask(dnn: Dnn, image: Any, resize: Resize = resized) -> Any:
    """Return the real DNN's outputs of an image."""
    place = dnn.input.place(image.shape[1], image.shape[0])
    tensor = dnn.input.normalize(resize(image, (place.to_width, place.to_height)))
    return networks.ask(dnn, tensor)


def answer(name: str, image: Any, resize: Resize = resized) -> Any:
    """Return a task's answer about an image."""
    each = task(name)
    return each.answer(ask(each.dnn, image, resize), (image.shape[1], image.shape[0]))


def read(name: str, image: Any, resize: Resize = resized) -> Any:
    """Return what a chain reads of an image, region by region."""
    each = chain(name)
    crops = [each.cut(image, region) for region in answer(each.first.name, image, resize)]
    return [each.value(each.read(ask(each.second, crop))) for crop in crops]


@cache
def photograph(name: str) -> Any:
    return np.array(networks.photograph(name))


def within(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return slice(top, bottom), slice(left, right)


def test_the_astronaut_has_one_face_and_it_is_where_it_is() -> None:
    found = answer("detection", photograph("astronaut"))
    assert len(found) == 1
    left, top, right, bottom = found[0, :4]
    assert 165 < left < FACE[0] < FACE[2] < right < 285
    assert 40 < top < FACE[1] < FACE[3] < bottom < 195
    # The eyes, the nose and the corners of the mouth, read off the photograph.
    expected = [(203, 101), (247, 101), (224, 123), (206, 143), (242, 143)]
    assert found[0, 4:14].reshape(5, 2) == pytest.approx(np.array(expected), abs=5)


@pytest.mark.parametrize("name", ["china", "coffee", "chelsea"])
def test_nobody_is_found_where_there_is_nobody(name: str) -> None:
    assert len(answer("detection", photograph(name))) == 0


def test_the_mask_covers_the_astronaut_and_not_what_is_behind_her() -> None:
    found = answer("segmentation", photograph("astronaut"))
    assert (found[within(FACE)] == 255).all()
    assert (found[within(SUIT)] == 255).mean() > 0.99
    assert (found[within(FLAG)] == 0).all()
    assert (found[within(WALL)] == 0).all()


def test_depth_of_a_photograph_is_finite_and_not_flat() -> None:
    found = answer("depth", photograph("china"))
    assert found.shape == photograph("china").shape[:2]
    assert np.isfinite(found).all()
    assert found.std() > 1e-3


CHANGES: dict[str, Callable[[Any], Any]] = {
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "darker": lambda image: image // 2,
    "half as large": lambda image: resized(image, (image.shape[1] // 2, image.shape[0] // 2)),
    "turned": lambda image: cv2.warpAffine(
        image, cv2.getRotationMatrix2D((256, 256), 20, 1), image.shape[1::-1]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_a_face_is_like_itself_however_it_is_photographed(name: str, change: str) -> None:
    image = photograph(name)
    (one,), (other,) = read("faces", image), read("faces", CHANGES[change](image))
    assert one @ other > 0.6


def test_two_persons_faces_are_not_alike() -> None:
    (one,), (other,) = (read("faces", photograph(name)) for name in ("astronaut", "grace_hopper"))
    assert one @ other < 0.4


def crowd() -> tuple[Any, list[tuple[float, float]]]:
    """A photograph with five faces, from top to bottom and left to right, and their centres."""
    image = cv2.resize(photograph("china"), (1280, 854))
    face = photograph("astronaut")[0:240, 120:340]
    centres = []
    places = [(60, 40), (520, 45), (900, 20), (200, 500), (760, 540)]
    for i, (left, top) in enumerate(places):
        height = 200 + 15 * i
        part = resized(face, (height * 220 // 240, height))
        image[top : top + height, left : left + part.shape[1]] = part
        # In its own photograph the face's centre is at 224, 117.
        centres.append((left + 104 * height / 240, top + 117 * height / 240))
    return image, centres


@pytest.mark.parametrize("resize", [resized, resized_by_pillow])
def test_all_faces_of_a_crowd_are_found_in_order_whatever_scales_it(resize: Resize) -> None:
    image, expected = crowd()
    found = answer("detection", image, resize)
    centres = (found[:, :2] + found[:, 2:4]) / 2
    assert centres == pytest.approx(np.array(expected), abs=12)


def page(texts: list[str], *, pixels: int) -> Any:
    """A white page with a line of each text."""
    image = Image.new("RGB", (22 * pixels, 2 * pixels * len(texts) + pixels), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(pixels)
    for number, text in enumerate(texts):
        pen.text((pixels, pixels * (0.7 + 2 * number)), text, "black", font)
    return np.array(image)


@pytest.mark.parametrize("resize", [resized, resized_by_pillow])
@pytest.mark.parametrize("pixels", [24, 40, 120])
def test_rendered_lines_are_read_as_they_are_written(pixels: int, resize: Resize) -> None:
    assert read("text", page(LINES, pixels=pixels), resize) == LINES


@pytest.mark.parametrize("degrees", [-35, -10, 10, 35, 60, 90])
def test_slanted_lines_are_read_too(degrees: float) -> None:
    side = 800
    image = np.full((side, side, 3), 255, np.uint8)
    part = page(["Hello World"], pixels=36)
    image[350 : 350 + part.shape[0], 0 : part.shape[1]] = part
    shift = (image != 255).any(axis=2).nonzero()[1].mean() - side / 2
    image = np.roll(image, -round(shift), axis=1)
    turn = cv2.getRotationMatrix2D((side / 2, 400), -degrees, 1)
    image = cv2.warpAffine(image, turn, (side, side), borderValue=(255, 255, 255))
    assert read("text", image) == ["Hello World"]


def test_a_photograph_without_text_is_read_as_nothing() -> None:
    assert read("text", photograph("chelsea")) == []
