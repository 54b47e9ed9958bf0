"""Looks at a JPEG's markers without decoding it, so that every way refuses the same bad images."""

from __future__ import annotations

from pipelines.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused: decoded they would take 300 MB and seconds of a core each."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset((0x01, 0xFF, *range(0xD0, 0xD9)))


def check(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of a complete JPEG of bearable size.

    Raises ImageError for empty, non-JPEG, truncated and too large data. The entropy-coded part is
    not read: damage inside it is the decoder's to find.
    """
    if not data:
        raise ImageError("the image is empty")
    if data[:2] != _SOI:
        raise ImageError("the image is not a JPEG")
    size = None
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ImageError("the JPEG is corrupt: a marker is missing")
        if marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME and position + 9 <= len(data):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            size = _bearable(width, height=height)
        if marker == _START_OF_SCAN:
            # Entropy-coded bytes never contain an end marker, so a complete file has one after it.
            if size is None:
                raise ImageError("the JPEG is corrupt: it has no frame header")
            if data.rfind(_EOI, position) < 0:
                raise ImageError("the JPEG is truncated")
            return size
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ImageError("the JPEG is truncated")


def _bearable(width: int, *, height: int) -> tuple[int, int]:
    if not width or not height:
        raise ImageError(f"the JPEG is corrupt: its size is {width}x{height}")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image is {width}x{height}, larger than the limit of {MAX_PIXELS:,} pixels"
        )
    return width, height
