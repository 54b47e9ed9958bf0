"""The sets that dictate the fan-out: an image shows as many faces or lines as its set says."""

import itertools
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from networks import DOWNLOADS, ask
from PIL import Image

from bench.prepare.images.scenes import MOST, SCENES, draw_heads, draw_lines
from bench.prepare.images.sets import Index, IndexedFile, build_images
from pipelines.preprocess.ways import preprocessor
from pipelines.tasks import chain

LOOKED_AT = 2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    build_images(folder, sets=list(SCENES), count=LOOKED_AT, downloads=DOWNLOADS)
    return folder


def index_of(folder: Path) -> list[IndexedFile]:
    return msgspec.json.decode((folder / "index.json").read_bytes(), type=Index).files


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_there_is_a_set_for_every_number_up_to_twelve() -> None:
    numbers = range(13)
    assert list(SCENES) == [f"{kind}-{n}" for kind in ("faces", "text") for n in numbers]


@pytest.mark.parametrize("number", range(MOST + 1))
def test_the_index_says_what_is_on_every_image(built: Path, number: int) -> None:
    for file in index_of(built / f"faces-{number}"):
        assert (file.width, file.height, file.faces, file.words) == (1280, 854, number, None)
    for file in index_of(built / f"text-{number}"):
        assert (file.width, file.height, file.faces) == (960, 960, None)
        assert file.words is not None
        assert len(file.words) == number
        assert all(0 < len(line) <= 14 for line in file.words)


@pytest.mark.parametrize("name", SCENES)
def test_no_two_images_of_a_set_are_alike_and_all_are_of_a_photographs_bytes(
    built: Path, name: str
) -> None:
    files = index_of(built / name)
    assert len({file.sha256 for file in files}) == LOOKED_AT
    assert all(60_000 < file.bytes < 800_000 for file in files)


@pytest.mark.parametrize("name", ["faces-5", "text-5"])
def test_a_seed_gives_the_same_images_and_another_gives_others(
    built: Path, tmp_path: Path, name: str
) -> None:
    def files(seed: int) -> list[IndexedFile]:
        (folder,) = build_images(tmp_path, sets=[name], count=2, seed=seed, downloads=DOWNLOADS)
        return index_of(folder)

    assert files(2024) == index_of(built / name)[:2]
    others = files(1)
    assert not {file.sha256 for file in others} & {file.sha256 for file in files(2024)}


@pytest.mark.parametrize("seed", range(50))
def test_heads_lie_inside_the_picture_and_never_on_each_other(seed: int) -> None:
    recipe = SCENES["faces-12"]
    heads = draw_heads(recipe, random.Random(seed))
    assert len(heads) == MOST
    for head in heads:
        assert 0 <= head.left <= head.left + head.width <= recipe.width
        assert 0 <= head.top <= head.top + head.height <= recipe.height
    for one, other in itertools.combinations(heads, 2):
        beside = one.left + one.width <= other.left or other.left + other.width <= one.left
        assert beside or one.top + one.height <= other.top or other.top + other.height <= one.top


@pytest.mark.parametrize("seed", range(20))
def test_there_is_space_between_the_lines(seed: int) -> None:
    recipe = SCENES["text-12"]
    lines = sorted(draw_lines(recipe, random.Random(seed)), key=lambda line: line.baseline)
    assert len(lines) == MOST
    # A letter reaches at most three quarters of the size above the line, and a quarter below it.
    edges = [(line.baseline - 0.75 * line.size, line.baseline + 0.25 * line.size) for line in lines]
    assert all(above[1] + 10 < below[0] for above, below in itertools.pairwise(edges))
    assert edges[0][0] > 0
    assert edges[-1][1] < recipe.height


def test_sets_of_faces_differ_in_nothing_but_the_faces(built: Path) -> None:
    for position in range(LOOKED_AT):
        none, one, two = (pixels(built / f"faces-{n}" / f"{position:03d}.jpg") for n in range(3))
        shown = (abs(one - none).max(axis=2) > 60).mean()
        # One head takes 3 to 8 % of the picture, and parts of it may be as bright as the ground.
        assert 0.005 < shown < 0.08
        assert shown < (abs(two - none).max(axis=2) > 60).mean() < 0.16


def test_sets_of_text_differ_in_nothing_but_the_lines(built: Path) -> None:
    for position in range(LOOKED_AT):
        few, some, all_ = (index_of(built / f"text-{n}")[position].words or [] for n in (2, 7, 12))
        for fewer, more in ((few, some), (some, all_)):
            rest = iter(more)
            assert all(line in rest for line in fewer), "not the same lines in the same order"
        page, written = (pixels(built / f"text-{n}" / f"{position:03d}.jpg") for n in (0, 12))
        assert 0.01 < (abs(page - written).max(axis=2) > 60).mean() < 0.1


# ---------------------------------------------------------------- as the real DNNs see them


@pytest.mark.parametrize("way", ["opencv", "pillow"])
@pytest.mark.parametrize("number", [0, 1, 4, 12])
def test_centerface_finds_exactly_so_many_faces(built: Path, number: int, way: str) -> None:
    first = chain("faces").first
    preprocess = preprocessor(way, first.dnn.input)
    for path in sorted((built / f"faces-{number}").glob("*.jpg")):
        made = preprocess(path.read_bytes())
        assert len(first.answer(ask(first.dnn, made.tensor), made.size)) == number


@pytest.mark.parametrize("way", ["opencv", "pillow"])
@pytest.mark.parametrize("number", [0, 1, 4, 12])
def test_ppocr_reads_exactly_the_words_of_the_index(built: Path, number: int, way: str) -> None:
    text = chain("text")
    preprocess = preprocessor(way, text.first.dnn.input, keep_pixels=True)
    folder = built / f"text-{number}"
    for file in index_of(folder):
        made = preprocess((folder / file.name).read_bytes())
        read = []
        for region in text.first.answer(ask(text.first.dnn, made.tensor), made.size):
            crop = text.second.input.normalize(text.cut(made.pixels, region))
            read.append(text.value(text.read(ask(text.second, crop))))
        assert read == file.words
