"""Images as they should not be, and odd ones that are fine; all made from one photograph."""

import io
import random
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
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
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    return encode(stored, exif=_exif(orientation), quality=95)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


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


def by_opencv(kind: str, pixels: npt.NDArray[Any], *options: int) -> bytes:
    """The RGB or gray pixels in a file of that kind, as OpenCV writes it."""
    turned = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return bytes(cv2.imencode(kind, turned, options)[1])


def _transparent() -> Image.Image:
    image = _IMAGE.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _png(*, width: int, height: int, colors: int = 2) -> bytes:
    """A PNG that says so of itself, in a head with a right checksum."""
    head = b"IHDR" + struct.pack(">IIBB", width, height, 8, colors) + bytes(3)
    return b"".join(
        [
            _PLAIN["PNG"][:12],
            head,
            struct.pack(">I", zlib.crc32(head)),
            _PLAIN["PNG"][33:],
        ]
    )


def _webp_of(kind: bytes, content: bytes) -> bytes:
    """A WebP with nothing but this part."""
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


_PIXELS = np.asarray(_IMAGE)
_SIXTEEN = _PIXELS.astype(np.uint16) * 257
_PLAIN = {
    "PNG": encode(_IMAGE, "PNG"),
    "BMP": encode(_IMAGE, "BMP"),
    "TIFF": encode(_IMAGE, "TIFF"),
    "WebP": by_opencv(".webp", _PIXELS, cv2.IMWRITE_WEBP_QUALITY, 101),
}
"""The photograph in the other formats, unharmed by any."""

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the image is empty"),
    "one byte": (b"\xff", "is no JPEG"),
    "text": (b"hello " * 100, "is no JPEG, PNG, WebP, BMP or TIFF"),
    "zeros": (bytes(1000), "is no JPEG"),
    "gif": (encode(_IMAGE, "GIF"), "is no JPEG"),
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
    "no tables": (without_tables(GOOD), "cannot decode the image"),
    "12 bits a colour": (with_byte(GOOD, _FRAME + 4, 12), "12 bits a colour"),
    "two colours": (with_byte(GOOD, _FRAME + 9, 2), "2 colours"),
    "two frame headers": (GOOD[: _FRAME + 19] + GOOD[_FRAME:], "two frame headers"),
    "two scans of all colours": (GOOD[:-2] + GOOD[GOOD.index(b"\xff\xda") :], "a scan follows"),
    "a marker that there is not": (with_segments(GOOD, b"\xff\x02\0\2"), "marker 0x2 before"),
    **{f"{kind}, cut": (_PLAIN[kind][:-20], f"{kind} is truncated") for kind in _PLAIN},
    "png, cut in its head": (_PLAIN["PNG"][:20], "PNG is truncated"),
    "png with a wrong checksum": (with_byte(_PLAIN["PNG"], 29, 1), "a checksum is wrong"),
    "png without its palette": (_png(width=320, height=213, colors=3), "it has no palette"),
    "png of an unknown kind": (_png(width=320, height=213, colors=5), "no known kind"),
    "png of no width": (_png(width=0, height=5), "0x5"),
    "png of 20000x20000": (_png(width=20000, height=20000), "20000x20000, larger than"),
    "animated webp": (_webp_of(b"ANIM", bytes(6)), "no still picture"),
    "wav": (b"RIFF\x04\0\0\0WAVE", "is no JPEG"),
    "tiff with alpha": (encode(_transparent(), "TIFF"), "has alpha"),
    "tiff of 16 bits": (by_opencv(".tiff", _SIXTEEN), "other than 8 bits"),
    "tiff of cmyk": (encode(_IMAGE.convert("CMYK"), "TIFF"), "neither gray"),
    "tiff of nothing": (b"II*\0", "TIFF is corrupt: its size is 0x0"),
    "bmp with its pixels in its head": (with_byte(_PLAIN["BMP"], 10, 0), "begin in its head"),
    "bmp of an old kind": (with_byte(_PLAIN["BMP"], 14, 12), "of an old kind"),
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
    **{f"a plain {kind}": data for kind, data in _PLAIN.items()},
    "png with a palette": encode(_IMAGE.quantize(64), "PNG"),
    "png with a transparent colour": encode(_IMAGE.quantize(64), "PNG", transparency=3),
    "png in gray": encode(_IMAGE.convert("L"), "PNG"),
    "png of one bit": encode(_IMAGE.convert("1"), "PNG"),
    "png with alpha": encode(_transparent(), "PNG"),
    "png in gray with alpha": encode(_transparent().convert("LA"), "PNG"),
    "png of 16 bits": by_opencv(".png", _SIXTEEN),
    "png in gray of 16 bits": by_opencv(".png", _SIXTEEN[..., 0]),
    "png with an orientation": encode(_IMAGE, "PNG", exif=_exif(6)),
    "lossy webp": by_opencv(".webp", _PIXELS, cv2.IMWRITE_WEBP_QUALITY, 90),
    "bmp with a palette": encode(_IMAGE.quantize(64), "BMP"),
    "bmp in gray": encode(_IMAGE.convert("L"), "BMP"),
    "tiff in gray": encode(_IMAGE.convert("L"), "TIFF"),
    "tiff with an orientation": encode(_IMAGE, "TIFF", tiffinfo={0x0112: 6}),
    "tiff, compressed": by_opencv(".tiff", _PIXELS, cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "orientation in xmp only": encode(_IMAGE, xmp=b'<x tiff:Orientation="6"/>'),
    **{f"exif orientation {n}": rotated(_IMAGE, n) for n in range(1, 9)},
}
"""Unusual images that every way must read alike, where it reads the format at all."""
