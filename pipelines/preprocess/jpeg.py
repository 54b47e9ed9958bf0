"""Looks at a JPEG's markers without decoding it, so that every way refuses the same bad images."""

import re

from pipelines.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused: decoded they would take 300 MB and seconds of a core each."""

_SOI = b"\xff\xd8"
_EOI, _START_OF_SCAN, _ADOBE, _FILL = 0xD9, 0xDA, 0xEE, 0xFF
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_BETWEEN_SCANS = frozenset((0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""What ends entropy-coded data: a marker that is not a restart, nor an escaped 0xFF."""


def check(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of a complete JPEG of bearable size.

    Raises ImageError for empty, non-JPEG, truncated and too large data, and for markers where none
    may be: some decoders mend those and some do not. Other damage inside the entropy-coded data is
    the decoder's to find; what follows the end marker is nobody's business.
    """
    if not data:
        raise ImageError("the image is empty")
    if data[:2] != _SOI:
        raise ImageError("the image is not a JPEG")
    size, colors, adobe, scanned = None, 0, False, False
    position = 2
    while position + 2 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ImageError("the JPEG is corrupt: a marker is missing")
        if marker == _FILL:
            position += 1
            continue
        if marker == _EOI and scanned and size is not None:
            return size
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        if scanned and marker not in _BETWEEN_SCANS:
            raise ImageError(f"the JPEG is corrupt: it has a marker {marker:#x} inside its data")
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if position + 2 + length > len(data):
            break
        if length < 2:
            raise ImageError("the JPEG is corrupt: a segment has no length")
        if marker in _START_OF_FRAME:
            size, colors = _frame(segment)
        adobe = adobe or (marker == _ADOBE and segment[:5] == b"Adobe")
        position += 2 + length
        if marker == _START_OF_SCAN:
            if size is None:
                raise ImageError("the JPEG is corrupt: it has no frame header")
            if colors == 4 and not adobe:
                raise ImageError("the JPEG has four colours and does not say which")
            end = _IN_SCAN.search(data, position)
            if end is None:
                break
            scanned, position = True, end.start()
    raise ImageError("the JPEG is truncated")


def _frame(segment: bytes) -> tuple[tuple[int, int], int]:
    """Return (width, height), if bearable, and the number of colours that a frame header gives."""
    if len(segment) < 6:
        raise ImageError("the JPEG is corrupt: its frame header is too short")
    height = int.from_bytes(segment[1:3], "big")
    width = int.from_bytes(segment[3:5], "big")
    if not width or not height:
        raise ImageError(f"the JPEG is corrupt: its size is {width}x{height}")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image is {width}x{height}, larger than the limit of {MAX_PIXELS:,} pixels"
        )
    return (width, height), segment[5]
