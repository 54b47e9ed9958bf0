"""How one image of a built set is made; of those that differ in size or coding, from photographs.

Those are cut out or tiled and never enlarged, which keeps the detail per pixel, and so the work of
decoding, that of photographs.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import msgspec
import numpy as np
from PIL import Image, ImageOps

from pipelines.errors import SourceError

Photographs = dict[str, Image.Image]

PHOTOGRAPHS = (
    *("astronaut", "chelsea", "coffee", "hubble_deep_field", "motorcycle_left"),
    *("motorcycle_right", "rocket", "china", "flower"),
)
"""Of small, medium and large; another order gives other pictures."""

_MAX_ATTEMPTS = 200


class Truth(msgspec.Struct, frozen=True):
    """What there is to find on an image: so many faces, and the lines of text from top to bottom.

    None where we have not looked.
    """

    faces: int | None = None
    words: list[str] | None = None


@dataclass(frozen=True)
class Recipe:
    """What each image of a set is: its size in pixels, its bounds in bytes, its JPEG quality.

    `compose` draws the picture, at the recipe's size, from the photographs named and chance. The
    bounds are of the picture as a plain JPEG, which is then written as `coding` says, one of
    CODINGS.
    """

    width: int
    height: int
    min_bytes: int
    max_bytes: int
    qualities: tuple[int, ...]
    photographs: tuple[str, ...]
    compose: Callable[[Recipe, Photographs, random.Random], tuple[Image.Image, Truth]]
    coding: str = ""

    @property
    def ending(self) -> str:
        """How the names of its files end."""
        return CODINGS[self.coding][0]


Encode = Callable[[Image.Image, int], bytes]
"""A picture, in a quality, to a file's content."""


def _pillow(format: str, **options: Any) -> Encode:
    def encode(image: Image.Image, quality: int) -> bytes:
        file = io.BytesIO()
        image.save(file, format, quality=quality, **options)
        return file.getvalue()

    return encode


def _webp(image: Image.Image, quality: int) -> bytes:
    # By OpenCV: Pillow may be built without.
    pixels = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])


# Full chroma unless said: the large set reaches its bytes with nothing less, and sets that differ
# in sampling could not be compared.
_JPEG = partial(_pillow, "JPEG", subsampling="4:4:4")
CODINGS: dict[str, tuple[str, Encode]] = {
    "": ("jpg", _JPEG()),
    "progressive": ("jpg", _JPEG(progressive=True)),
    "420": ("jpg", _JPEG(subsampling="4:2:0")),
    "png": ("png", _pillow("PNG")),
    "webp": ("webp", _webp),
}
"""By what the names of sets end with: the ending of the files' names, and what writes one. The
quality is that of the plain JPEG; PNG knows none.
"""


def make_image(recipe: Recipe, photographs: Photographs, *, seed: str) -> tuple[bytes, Truth]:
    """Return one file by the recipe, the same one for the same seed and the same Pillow, and what
    it shows. Recipes that differ in their coding alone give the same picture.

    Raises SourceError when chance does not find one within the recipe's bounds.
    """
    chance = random.Random(seed)
    plain, written = CODINGS[""][1], CODINGS[recipe.coding][1]
    for _attempt in range(_MAX_ATTEMPTS):
        image, truth = recipe.compose(recipe, photographs, chance)
        for quality in chance.sample(recipe.qualities, len(recipe.qualities)):
            jpeg = plain(image, quality)
            if recipe.min_bytes <= len(jpeg) <= recipe.max_bytes:
                return (written(image, quality) if recipe.coding else jpeg), truth
    raise SourceError(
        f"no image of {recipe.width}x{recipe.height} pixels came out at {recipe.min_bytes} to "
        f"{recipe.max_bytes} bytes in {_MAX_ATTEMPTS} attempts",
        hint="this Pillow encodes unlike those we know: install the one in requirements.lock",
    )


def cut(
    photograph: Image.Image, width: int, height: int, *, chance: random.Random, enlarged: float = 1
) -> Image.Image:
    """Return a part of the photograph, half as wide as it can be or more, scaled to the size.

    No pixel is `enlarged` more than so many times; the photograph must be large enough for that.
    """
    most = min(photograph.width / width, photograph.height / height)
    scale = chance.uniform(max(1 / enlarged, most / 2), most)
    # Rounding must not push the box over the photograph's edge.
    cut_width, cut_height = int(width * scale), int(height * scale)
    left = chance.randint(0, photograph.width - cut_width)
    top = chance.randint(0, photograph.height - cut_height)
    box = (left, top, left + cut_width, top + cut_height)
    part = photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return ImageOps.mirror(part) if chance.random() < 0.5 else part


def _tile(
    recipe: Recipe, photographs: Photographs, chance: random.Random, *, tile: tuple[int, int]
) -> tuple[Image.Image, Truth]:
    """Parts of photographs side by side, each scaled to the tile's size; a single one as it is."""
    width, height = tile
    picture = Image.new("RGB", (recipe.width, recipe.height))
    large = [each for each in photographs.values() if each.width >= width and each.height >= height]
    for top in range(0, recipe.height, height):
        for left in range(0, recipe.width, width):
            part = cut(chance.choice(large), width, height, chance=chance)
            if part.size == picture.size:
                return part, Truth()  # its photograph's comment, if there is one, stays in it
            picture.paste(part, (left, top))
    return picture, Truth()


RECIPES: dict[str, Recipe] = {
    name: Recipe(*size, *span, tuple(qualities), PHOTOGRAPHS, partial(_tile, tile=tile))
    for name, size, tile, span, qualities in (
        ("small", (60, 70), (60, 70), (3_500, 4_500), range(90, 96)),
        ("medium", (500, 375), (500, 375), (100_000, 120_000), range(92, 97)),
        ("large", (3564, 2880), (297, 288), (9_000_000, 10_000_000), range(96, 99)),
    )
}
"""The sets of photographs by name; their sizes, and those of the parts, are our choice."""

_TILE = 288
SIZES: dict[str, Recipe] = {
    f"{megapixels}mp": Recipe(
        *(across * _TILE, down * _TILE),
        *(850_000 * megapixels, 1_000_000 * megapixels),
        tuple(range(96, 99)),
        PHOTOGRAPHS,
        partial(_tile, tile=(_TILE, _TILE)),
    )
    for megapixels, across, down in ((1, 4, 3), (2, 6, 4), (4, 8, 6))
}
"""Sets between medium and large, with its bytes for each pixel: nothing but size differs."""

PHONES: dict[str, Recipe] = {
    f"phone-{quality}" if quality != 85 else "phone": Recipe(
        *(4032, 3024, low, high, (quality,), PHOTOGRAPHS),
        partial(_tile, tile=(504, 378)),
        coding="420",
    )
    for quality, low, high in (
        (85, 3_000_000, 4_100_000),
        (50, 1_400_000, 2_000_000),
        (95, 6_000_000, 8_000_000),
    )
}
"""Sets of 12 megapixels as phones store them, 2.7 MB of quality 85 and a quarter of the chroma; and
the same pictures in other qualities.
"""

CODED: dict[str, Recipe] = {
    f"{name}-{coding}": replace(recipe, coding=coding)
    for name, recipe in {**RECIPES, **SIZES}.items()
    for coding in CODINGS
    if coding
}
"""The same pictures in other codings."""
