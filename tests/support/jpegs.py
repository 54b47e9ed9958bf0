"""JPEGs as they should not be, and odd ones that are fine; all made from one photograph."""

import io
import random
import struct
from typing import Any

from PIL import Image

from bench.prepare.images.sets import images_of

SOF = b"\xff\xc0"


def photograph() -> Image.Image:
    """A real photograph, 320 x 213."""
    with Image.open(images_of("medium").paths[0]) as image:
        return image.convert("RGB").resize((320, 213))


def encode(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Return the encoded image."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def rotated(image: Image.Image, orientation: int) -> bytes:
    """The image as a camera held that way would have stored it: it looks as `image` does."""
    turn = Image.Transpose
    undo = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    return encode(stored, exif=exif, quality=95)


def claiming(data: bytes, *, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header."""
    at = data.index(SOF) + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


def with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """The JPEG with a whole other one, end marker and all, in its EXIF segment."""
    body = b"Exif\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """The JPEG with more segments at its start."""
    return data[:2] + b"".join(segments) + data[2:]


def exif_of(orientation: int, *, order: str = "<", kind: str = "H", tag: int = 0x0112) -> bytes:
    """A segment of EXIF with one tag; byte order, and type as `struct` has them: a SHORT is H."""
    number = {"B": 1, "H": 3, "I": 4, "d": 12}[kind]
    start = b"II" if order == "<" else b"MM"
    value = struct.pack(order + kind, orientation).ljust(4, b"\0")[:4]
    entry = struct.pack(order + "HHI", tag, number, 1) + value
    body = start + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 8) + b"Exif\0\0" + body


def with_byte(data: bytes, at: int, value: int) -> bytes:
    """The data with another byte there."""
    return data[:at] + bytes((value,)) + data[at + 1 :]


def damaged(data: bytes, *, markers: bool) -> bytes:
    """The JPEG with noise in the middle of its entropy-coded data, with or without 0xFF in it."""
    noise = random.Random(1)
    start = len(data) * 2 // 3
    bytes_ = bytes(noise.randrange(255) for _ in range(500))
    if markers:
        bytes_ = bytes_[:250] + SOF + bytes_[252:]
    return data[:start] + bytes_ + data[start + 500 :]


def without_tables(data: bytes) -> bytes:
    """A well-formed JPEG that no decoder can decode: its quantisation tables are comments."""
    return data.replace(b"\xff\xdb", b"\xff\xfe")


_IMAGE = photograph()
GOOD = encode(_IMAGE, quality=90)
_FRAME = GOOD.index(SOF)
_CMYK = encode(_IMAGE.convert("CMYK"))
_PROGRESSIVE = encode(_IMAGE, progressive=True)
_FRAMED = with_thumbnail(GOOD, encode(_IMAGE.resize((32, 21))))

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the image is empty"),
    "one byte": (b"\xff", "not a JPEG"),
    "text": (b"hello " * 100, "not a JPEG"),
    "zeros": (bytes(1000), "not a JPEG"),
    "png": (encode(_IMAGE, "PNG"), "not a JPEG"),
    "only its start": (GOOD[:2], "truncated"),
    "cut in its headers": (GOOD[:200], "truncated"),
    "cut in half": (GOOD[: len(GOOD) // 2], "truncated"),
    "one byte short": (GOOD[:-1], "truncated"),
    "progressive, cut": (_PROGRESSIVE[: len(_PROGRESSIVE) // 2], "truncated"),
    "cut, with a whole thumbnail": (_FRAMED[: -len(GOOD) // 2], "truncated"),
    "20000x20000": (claiming(GOOD, width=20000, height=20000), "20000x20000, larger than"),
    "of no height": (claiming(GOOD, width=320, height=0), "320x0"),
    "marker inside its data": (damaged(GOOD, markers=True), "marker 0xc0 inside"),
    "no frame header": (GOOD.replace(SOF, b"\xff\xfe", 1), "no frame header"),
    "no tables": (without_tables(GOOD), "cannot decode the JPEG"),
    "12 bits a colour": (with_byte(GOOD, _FRAME + 4, 12), "12 bits a colour"),
    "two colours": (with_byte(GOOD, _FRAME + 9, 2), "2 colours"),
    "two frame headers": (GOOD[: _FRAME + 19] + GOOD[_FRAME:], "two frame headers"),
    "a marker that there is not": (with_segments(GOOD, b"\xff\x02\0\2"), "marker 0x2 before"),
    "cmyk of which kind": (_CMYK.replace(b"Adobe", b"Nobody"[:5]), "four colours"),
}
"""Data that no way may turn into a tensor, and what the error must say."""

_BROKEN = b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff"
ORIENTED: dict[str, tuple[list[bytes], int]] = {
    "two, 6 then 3": ([exif_of(6), exif_of(3)], 6),
    "none, then 3": ([_BROKEN, exif_of(3)], 1),
    "big-endian": ([exif_of(6, order=">")], 6),
    "a long": ([exif_of(6, kind="I")], 6),
    "a big-endian long": ([exif_of(6, order=">", kind="I")], 6),
    "a byte": ([exif_of(6, kind="B")], 1),
    "a double": ([exif_of(6, kind="d")], 1),
    "9": ([exif_of(9)], 1),
    "0": ([exif_of(0)], 1),
    "another tag": ([exif_of(6, tag=0x0113)], 1),
    "after xmp": ([b"\xff\xe1\x00\x06http", exif_of(8)], 8),
}
"""Segments of EXIF, and the orientation that is read in them."""

ODD: dict[str, bytes] = {
    "1x1": encode(_IMAGE.resize((1, 1))),
    "2x2": encode(_IMAGE.resize((2, 2))),
    "7x5": encode(_IMAGE.resize((7, 5))),
    "1x3000": encode(_IMAGE.resize((1, 3000))),
    "3000x1": encode(_IMAGE.resize((3000, 1))),
    "257x256": encode(_IMAGE.resize((257, 256))),
    "cmyk": _CMYK,
    "grayscale": encode(_IMAGE.convert("L")),
    "progressive": _PROGRESSIVE,
    "full colour": encode(_IMAGE, subsampling=0),
    "restart markers": encode(_IMAGE, restart_marker_rows=1),
    "noise in its data": damaged(GOOD, markers=False),
    "trailing garbage": GOOD + b"garbage" * 100,
    "a second image behind": GOOD + encode(_IMAGE.resize((32, 21))),
    "thumbnail": _FRAMED,
    "ff00 between its segments": with_segments(GOOD, b"\xff\x00\x00\x02"),
    "garbage between its segments": with_segments(GOOD, b"garbage\xff\xff\x00"),
    "a restart marker between its segments": with_segments(GOOD, b"\xff\xd3"),
    "orientation in xmp only": encode(_IMAGE, xmp=b'<x tiff:Orientation="6"/>'),
    **{f"exif orientation {n}": rotated(_IMAGE, n) for n in range(1, 9)},
}
"""Unusual JPEGs that every way must read alike."""
