"""The door for images: tells formats by their bytes, refuses the same ones for every way, and lets
the others in such that all libraries read them alike. Nothing is decoded here.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from pipelines.errors import ImageError
from pipelines.preprocess import jpeg, tiff
from pipelines.preprocess.limits import check_size


class Picture(NamedTuple):
    """An image that was let in: its bytes, and what they say of it; `width`, `height` as stored.

    `orientation` is that of a JPEG's EXIF, 1 for all other formats.
    """

    data: bytes
    format: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of a JPEG that stands upright."""
        sides = (self.width, self.height)
        return sides[::-1] if self.orientation in (5, 6, 7, 8) else sides


_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_WEBP_PIXELS = (b"VP8 ", b"VP8L")
_BMP_HEADERS, _BMP_BITS = (40, 108, 124), (8, 24)
JPEG, COMPRESSED_TIFF = "JPEG", "TIFF, compressed"


def admitted(data: bytes) -> Picture:
    """Return the image as every way gets it.

    Raises ImageError for what no way may decode: empty, unknown, truncated and too large data, and
    such of a known format as some libraries read and others do not.
    """
    if not data:
        raise ImageError("the image is empty")
    for starts, read in _READERS.items():
        if data.startswith(starts):
            return read(data)
    raise ImageError("the image is no JPEG, PNG, WebP, BMP or TIFF")


def _jpeg(data: bytes) -> Picture:
    whole, width, height, orientation = jpeg.admitted(data)
    return Picture(whole, JPEG, width, height, orientation)


def _png(data: bytes) -> Picture:
    """Of a PNG only the chunks that its pixels need, whose checksums must be right."""
    kept: dict[bytes, list[bytes]] = {kind: [] for kind in _PNG_KEPT}
    at = len(_PNG_START)
    while at + 12 <= len(data) and not kept[b"IEND"]:
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if kind in kept:
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageError("the PNG is corrupt: a checksum is wrong")
            kept[kind].append(data[at:end])
        elif kind[:1].isupper():
            raise ImageError("the PNG is corrupt: it has a part that nobody knows")
        at = end
    if not kept[b"IEND"]:
        raise ImageError("the PNG is truncated")
    width, height = _png_size(kept)
    whole = b"".join([_PNG_START, *(chunk for kind in _PNG_KEPT for chunk in kept[kind])])
    return Picture(whole, "PNG", width, height)


def _png_size(kept: dict[bytes, list[bytes]]) -> tuple[int, int]:
    """Return width and height. Raises ImageError when the chunks do not go together."""
    if len(kept[b"IHDR"]) != 1 or len(kept[b"IHDR"][0]) != 25:
        raise ImageError("the PNG is corrupt: it has no head")
    width, height, bits, colors, *rest = struct.unpack_from(">IIBBBBB", kept[b"IHDR"][0], 8)
    check_size(width, height, name="PNG")
    if bits not in _PNG_BITS.get(colors, ()) or rest not in ([0, 0, 0], [0, 0, 1]):
        raise ImageError("the PNG is corrupt: its colours are of no known kind")
    palettes = [len(chunk) - 12 for chunk in kept[b"PLTE"]]
    if colors == 3 and not (len(palettes) == 1 and palettes[0] in range(3, 769, 3)):
        raise ImageError("the PNG is corrupt: it has no palette")
    if colors != 3:
        kept[b"PLTE"].clear()
    return width, height


def _webp(data: bytes) -> Picture:
    """Of a WebP the frame, which must be the only one."""
    if data[8:12] != b"WEBP":
        raise ImageError("the image is no JPEG, PNG, WebP, BMP or TIFF")
    (size,) = struct.unpack_from("<I", data, 4)
    if 8 + size > len(data):
        raise ImageError("the WebP is truncated")
    at = 12
    while at + 8 <= 8 + size:
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > 8 + size:
            raise ImageError("the WebP is truncated")
        if kind in _WEBP_PIXELS:
            return _frame(kind, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    raise ImageError("the WebP has no still picture")


def _frame(kind: bytes, frame: bytes) -> Picture:
    """A WebP of nothing but this frame."""
    try:
        if kind == b"VP8 ":
            width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", frame, 6))
        else:
            (bits,) = struct.unpack_from("<I", frame, 1)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    except struct.error:
        raise ImageError("the WebP is truncated") from None
    body = b"WEBP" + kind + struct.pack("<I", len(frame)) + frame + b"\0" * (len(frame) % 2)
    check_size(width, height, name="WebP")
    return Picture(b"RIFF" + struct.pack("<I", len(body)) + body, "WebP", width, height)


def _bmp(data: bytes) -> Picture:
    """A BMP as it is."""
    try:
        head = struct.unpack_from("<IIiiHHI12xI", data, 10)
    except struct.error:
        raise ImageError("the BMP is truncated") from None
    start, header, width, height, _, bits, packed, colors = head
    if header not in _BMP_HEADERS or bits not in _BMP_BITS or packed:
        raise ImageError("the BMP is of an old kind, compressed, or not of 8 or 24 bits")
    check_size(width, abs(height), name="BMP")
    if start < 14 + header + (4 * (colors or 256) if bits == 8 else 0):
        raise ImageError("the BMP is corrupt: its pixels begin in its head")
    if start + (width * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise ImageError("the BMP is truncated")
    return Picture(data, "BMP", width, abs(height))


def _tiff(data: bytes) -> Picture:
    whole, compressed, width, height = tiff.admitted(data)
    return Picture(whole, COMPRESSED_TIFF if compressed else "TIFF", width, height)


_READERS: dict[bytes | tuple[bytes, ...], Callable[[bytes], Picture]] = {
    b"\xff\xd8": _jpeg,
    _PNG_START: _png,
    b"RIFF": _webp,
    b"BM": _bmp,
    (b"II*\0", b"MM\0*"): _tiff,
}
