"""How large an image may be."""

from pipelines.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused: decoded they would take 300 MB and seconds of a core each."""


def check_size(width: int, height: int, *, name: str) -> None:
    """Raise ImageError when an image of that format is of no size, or above MAX_PIXELS."""
    if width <= 0 or height <= 0:
        raise ImageError(f"the {name} is corrupt: its size is {width}x{height}")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image is {width}x{height}, larger than the limit of {MAX_PIXELS:,} pixels"
        )
