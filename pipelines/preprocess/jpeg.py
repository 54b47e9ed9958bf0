"""The door for JPEGs: looks at their markers without decoding them, so that every way refuses the
same bad images, and gets the others in a form that all libraries read alike.
"""

import re
from collections.abc import Iterator

from pipelines.errors import ImageError
from pipelines.preprocess.limits import check_size
from pipelines.preprocess.tiff import ORIENTATION, tags

_SOI = b"\xff\xd8"
_EOI, _START_OF_SCAN, _EXIF_OR_XMP, _ADOBE = 0xD9, 0xDA, 0xE1, 0xEE
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_BETWEEN_SCANS = frozenset((0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""What ends entropy-coded data: a marker that is not a restart, nor an escaped 0xFF."""

_EXIF = b"Exif\0\0"
_TURNED = (
    b"\xff\xe1\x00\x22" + _EXIF + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0"
)
"""A segment of EXIF with nothing but an orientation."""


def admitted(data: bytes) -> tuple[bytes, int, int, int]:
    """Return a complete JPEG as all libraries read it alike, its width and height as stored, and
    its orientation.

    Left out are EXIF and XMP, but for the orientation of the first EXIF where that is a SHORT or a
    LONG of 2 to 8; and whatever is between two segments. Where nothing of that is there it is
    `data` itself, and no copy.

    Raises ImageError for truncated and too large data, and for markers and scans where none may be:
    some decoders mend those and some do not. Other damage inside the entropy-coded data is the
    decoder's to find; what follows the end marker is nobody's business.
    """
    width, height, orientation = 0, 0, 1
    colors, adobe, exif = 0, False, False
    several = complete = False  # whether it has several scans; whether all of them are there
    kept: list[bytes] = []
    since = 2  # what is before it is kept, or left out for good
    for position, start, end, marker in _segments(data):
        _check_place(marker, framed=bool(colors))
        left_out = marker in _WITHOUT_LENGTH or marker == _EXIF_OR_XMP
        if left_out or start > position:
            kept.append(data[since:position])
            since = end if left_out else start
        segment = data[start + 4 : end]
        if marker == _EXIF_OR_XMP and segment.startswith(_EXIF) and not exif:
            exif, (turn, *_) = True, tags(segment[len(_EXIF) :]).get(ORIENTATION, (1,))
            if 2 <= turn <= 8:
                kept.append(_TURNED % turn)
                orientation = turn
        elif marker in _START_OF_FRAME:
            width, height, colors = _frame(segment)
            several = marker in _PROGRESSIVE
        adobe = adobe or (marker == _ADOBE and segment[:5] == b"Adobe")
        if marker == _START_OF_SCAN:
            if colors == 4 and not adobe:
                raise ImageError("the JPEG has four colours and does not say which")
            if complete:
                raise ImageError("the JPEG is corrupt: a scan follows the one of all its colours")
            several = several or segment[:1] < bytes((colors,))
            complete = not several
    whole = b"".join([_SOI, *kept, data[since:]]) if since > 2 else data
    return whole, width, height, orientation


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield of each segment where the one before it ended, its start, its end, and its marker.

    A scan's entropy-coded data is passed over. Raises ImageError where it ends in a marker that may
    not be there, and where the JPEG has no end.
    """
    position, scanned = 2, False
    while found := _MARKER.search(data, position):
        start, marker = found.start(), data[found.start() + 1]
        if marker == _EOI and scanned:
            return
        if scanned and marker not in _BETWEEN_SCANS:
            raise ImageError(f"the JPEG is corrupt: it has a marker {marker:#x} inside its data")
        end = start + 2
        if marker not in _WITHOUT_LENGTH:
            end += int.from_bytes(data[start + 2 : start + 4], "big")
            if end > len(data) or start + 4 > len(data):
                break
            if end < start + 4:
                raise ImageError("the JPEG is corrupt: a segment has no length")
        yield position, start, end, marker
        position = end
        if marker == _START_OF_SCAN:
            over = _IN_SCAN.search(data, position)
            if over is None:
                break
            scanned, position = True, over.start()
    raise ImageError("the JPEG is truncated")


def _check_place(marker: int, *, framed: bool) -> None:
    """Raise ImageError when the marker may not be there."""
    if marker == _START_OF_SCAN and not framed:
        raise ImageError("the JPEG is corrupt: it has no frame header")
    if marker in _START_OF_FRAME and framed:
        raise ImageError("the JPEG is corrupt: it has two frame headers")
    if marker not in _BETWEEN_SCANS | _START_OF_FRAME | _WITHOUT_LENGTH:
        raise ImageError(f"the JPEG is corrupt: it has a marker {marker:#x} before its data")


def _frame(frame: bytes) -> tuple[int, int, int]:
    """Return width, height and the number of colours that a frame header gives, if they can be."""
    if len(frame) < 6:
        raise ImageError("the JPEG is corrupt: its frame header is too short")
    bits, colors = frame[0], frame[5]
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    check_size(width, height, name="JPEG")
    if bits != 8:
        raise ImageError(f"the JPEG has {bits} bits a colour, and only 8 can be read")
    if colors not in (1, 3, 4):
        raise ImageError(f"the JPEG has {colors} colours, and only 1, 3 and 4 can be read")
    return width, height, colors
