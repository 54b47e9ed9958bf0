"""How one image of a built set is made; of small, medium and large, from photographs.

Those are cut out or tiled and never enlarged, which keeps the detail per pixel, and so the work of
decoding, that of photographs.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from PIL import Image, ImageOps

from pipelines.errors import SourceError

Photographs = dict[str, Image.Image]

PHOTOGRAPHS = (
    *("astronaut", "chelsea", "coffee", "hubble_deep_field", "motorcycle_left"),
    *("motorcycle_right", "rocket", "china", "flower"),
)
"""Of small, medium and large; another order gives other pictures."""

_TILE_WIDTH, _TILE_HEIGHT = 297, 288
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

    `compose` draws the picture, at the recipe's size, from the photographs named and chance.
    """

    width: int
    height: int
    min_bytes: int
    max_bytes: int
    qualities: tuple[int, ...]
    photographs: tuple[str, ...]
    compose: Callable[[Recipe, Photographs, random.Random], tuple[Image.Image, Truth]]


def make_jpeg(recipe: Recipe, photographs: Photographs, *, seed: str) -> tuple[bytes, Truth]:
    """Return one JPEG by the recipe, the same one for the same seed and the same Pillow, and what
    it shows.

    Raises SourceError when chance does not find one within the recipe's bounds.
    """
    chance = random.Random(seed)
    for _attempt in range(_MAX_ATTEMPTS):
        image, truth = recipe.compose(recipe, photographs, chance)
        for quality in chance.sample(recipe.qualities, len(recipe.qualities)):
            jpeg = _encode(image, quality)
            if recipe.min_bytes <= len(jpeg) <= recipe.max_bytes:
                return jpeg, truth
    raise SourceError(
        f"no image of {recipe.width}x{recipe.height} pixels came out at {recipe.min_bytes} to "
        f"{recipe.max_bytes} bytes in {_MAX_ATTEMPTS} attempts",
        hint="this Pillow encodes unlike those we know: install the one in requirements.lock",
    )


def _encode(image: Image.Image, quality: int) -> bytes:
    # Full chroma for all sets: the large one reaches its bytes with nothing less, and sets that
    # differ in sampling could not be compared.
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:4:4")
    return file.getvalue()


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


def _cut_out(
    recipe: Recipe, photographs: Photographs, chance: random.Random
) -> tuple[Image.Image, Truth]:
    """A part of one photograph that is large enough."""
    return _cut_from_any(photographs, recipe.width, recipe.height, chance), Truth()


def _mosaic(
    recipe: Recipe, photographs: Photographs, chance: random.Random
) -> tuple[Image.Image, Truth]:
    """Parts of photographs side by side."""
    picture = Image.new("RGB", (recipe.width, recipe.height))
    for top in range(0, recipe.height, _TILE_HEIGHT):
        for left in range(0, recipe.width, _TILE_WIDTH):
            tile = _cut_from_any(photographs, _TILE_WIDTH, _TILE_HEIGHT, chance)
            picture.paste(tile, (left, top))
    return picture, Truth()


def _cut_from_any(
    photographs: Photographs, width: int, height: int, chance: random.Random
) -> Image.Image:
    """A part of some photograph that holds `width` x `height` pixels, scaled down to that."""
    photograph = chance.choice(
        [each for each in photographs.values() if each.width >= width and each.height >= height]
    )
    return cut(photograph, width, height, chance=chance)


RECIPES: dict[str, Recipe] = {
    "small": Recipe(60, 70, 3_500, 4_500, tuple(range(90, 96)), PHOTOGRAPHS, _cut_out),
    "medium": Recipe(500, 375, 100_000, 120_000, tuple(range(92, 97)), PHOTOGRAPHS, _cut_out),
    "large": Recipe(3564, 2880, 9_000_000, 10_000_000, tuple(range(96, 99)), PHOTOGRAPHS, _mosaic),
}
"""The sets of photographs by name; their sizes are our choice."""
