"""JPEGs as they should not be, and odd ones that are fine; all made from one photograph."""

import io
import random
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
    "12 bits a colour": (
        GOOD[: GOOD.index(SOF) + 4] + b"\x0c" + GOOD[GOOD.index(SOF) + 5 :],
        "cannot decode the JPEG",
    ),
    "cmyk of which kind": (_CMYK.replace(b"Adobe", b"Nobody"[:5]), "four colours"),
}
"""Data that no way may turn into a tensor, and what the error must say."""

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
    "orientation in xmp only": encode(_IMAGE, xmp=b'<x tiff:Orientation="6"/>'),
    **{f"exif orientation {n}": rotated(_IMAGE, n) for n in range(1, 9)},
}
"""Unusual JPEGs that every way must read alike."""
