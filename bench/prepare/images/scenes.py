"""How one image of the sets that dictate the fan-out is made: so many faces, or lines of text.

Image 7 has the same background in every set of a kind, and what it shows in one set it also shows
in the larger ones: nothing but how much there is to find differs. Sizes, places and contrast are
such that CenterFace and PP-OCRv4 find exactly that much at 480x480, and read it without an error.
"""

import random
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from PIL import Image, ImageOps

from bench.prepare.images.recipes import Photographs, Recipe, Truth, cut

MOST = 12
"""The most faces, or lines, that an image shows."""

# The head in the photograph: left, top, right, bottom in pixels.
_HEADS = {"astronaut": (120, 0, 340, 240), "grace_hopper": (140, 10, 400, 340)}
_HEAD_HEIGHTS = (240, 280)
_COLUMNS, _ROWS = 4, 3

# In these CenterFace sees no face, whichever the part; in the motorcycles it nearly does.
_FACELESS = ("china", "coffee", "flower", "hubble_deep_field", "rocket")

# Each is read as it stands here: capitals that differ from small letters in size alone are not.
_WORDS = """
    airport anchor autumn bakery basket bridge bus camera candle car cinema closed coffee copper
    doctor driver east eleven entrance exit Friday garden hammer harbour hotel hundred ladder
    library map market Monday mountain museum north open orange painter parking pencil pilot
    platform pocket purple red river seven signal silver south spring station summer sun tea ten
    theatre thirty ticket twenty west window winter yellow
"""
# Alone on their lines: beside a number a space is often overlooked.
_NUMBERS = "128 256 374 512 648 739 2024 3564 4096 7352 8853"
_MOST_WORDS = 2
_SPACE = "  "  # a single one is now and then overlooked
_FONT, _WEIGHT = "sans", 500  # comes with OpenCV
_TEXT_SIZES = (36, 46)
# Of the text's size: 48x320 pixels then hold the line undistorted.
_MOST_WIDTH = 6.5
_MARGIN = 30
_LIGHT, _DARK = (200, 255), (0, 60)
# Standard deviation. A plain page would be decoded much faster than a photograph.
_GRAIN = 6


@dataclass(frozen=True)
class Head:
    """A head of a photograph, and where it goes in the picture, in pixels."""

    photograph: str
    left: int
    top: int
    width: int
    height: int
    mirrored: bool


@dataclass(frozen=True)
class Line:
    """A line of text, and where it begins in the picture, and on what baseline, in pixels."""

    text: str
    left: int
    baseline: int
    size: int


def draw_heads(recipe: Recipe, chance: random.Random) -> list[Head]:
    """Return MOST heads, each somewhere in its own cell of a grid: none overlaps another."""
    width, height = recipe.width // _COLUMNS, recipe.height // _ROWS
    heads = []
    for cell in chance.sample(range(MOST), MOST):
        row, column = divmod(cell, _COLUMNS)
        name = chance.choice(list(_HEADS))
        left, top, right, bottom = _HEADS[name]
        high = chance.randint(*_HEAD_HEIGHTS)
        wide = round(high * (right - left) / (bottom - top))
        x = column * width + chance.randint(0, width - wide)
        y = row * height + chance.randint(0, height - high)
        heads.append(Head(name, x, y, wide, high, chance.random() < 0.5))
    return heads


def draw_lines(recipe: Recipe, chance: random.Random) -> list[Line]:
    """Return MOST lines, each somewhere in its own row."""
    font, height = cv2.FontFace(_FONT), recipe.height // MOST
    words, numbers = _WORDS.split(), _NUMBERS.split()
    lines = []
    for row in chance.sample(range(MOST), MOST):
        size = chance.randint(*_TEXT_SIZES)
        wide = recipe.width
        while wide > _MOST_WIDTH * size:
            some = chance.sample(words, chance.randint(1, _MOST_WORDS))
            text = _SPACE.join(some) if chance.random() < 0.8 else chance.choice(numbers)
            _, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), font, size, _WEIGHT)
        left = chance.randint(_MARGIN, recipe.width - _MARGIN - wide)
        baseline = row * height + chance.randint(size + 5, height - size // 3 - 5)
        lines.append(Line(text, left, baseline, size))
    return lines


def _show_faces(
    recipe: Recipe, photographs: Photographs, chance: random.Random, *, count: int
) -> tuple[Image.Image, Truth]:
    """The first `count` heads, on a photograph without any."""
    ground = photographs[chance.choice(_FACELESS)]
    picture = cut(ground, recipe.width, recipe.height, chance=chance, enlarged=4)
    for head in draw_heads(recipe, chance)[:count]:
        face = photographs[head.photograph].resize(
            (head.width, head.height), Image.Resampling.LANCZOS, box=_HEADS[head.photograph]
        )
        picture.paste(ImageOps.mirror(face) if head.mirrored else face, (head.left, head.top))
    return picture, Truth(faces=count)


def _show_lines(
    recipe: Recipe, photographs: Photographs, chance: random.Random, *, count: int
) -> tuple[Image.Image, Truth]:
    """The first `count` lines, on a grainy page: light on dark, or dark on light."""
    del photographs
    ink, paper = chance.sample((_LIGHT, _DARK), 2)
    page = np.full((recipe.height, recipe.width, 3), _colour(paper, chance), np.uint8)
    font, colour = cv2.FontFace(_FONT), _colour(ink, chance)
    lines = sorted(draw_lines(recipe, chance)[:count], key=lambda line: line.baseline)
    for line in lines:
        place = (line.left, line.baseline)
        cv2.putText(page, line.text, place, colour, font, line.size, _WEIGHT)
    grain = np.random.default_rng(chance.getrandbits(64)).normal(0, _GRAIN, (*page.shape[:2], 1))
    picture = Image.fromarray(np.clip(page + grain, 0, 255).astype(np.uint8))
    return picture, Truth(words=[line.text.replace(_SPACE, " ") for line in lines])


def _colour(levels: tuple[int, int], chance: random.Random) -> list[int]:
    return [chance.randint(*levels) for _ in range(3)]


_QUALITIES = tuple(range(90, 96))
_SHOWN = (*_FACELESS, *_HEADS)

SCENES: dict[str, Recipe] = {
    f"faces-{n}": Recipe(
        1280, 854, 60_000, 800_000, _QUALITIES, _SHOWN, partial(_show_faces, count=n)
    )
    for n in range(MOST + 1)
} | {
    f"text-{n}": Recipe(960, 960, 200_000, 500_000, _QUALITIES, (), partial(_show_lines, count=n))
    for n in range(MOST + 1)
}
"""The sets that show so many faces, or lines of text, by name."""
