"""The TIFF structure, which a TIFF file and the EXIF of a JPEG have: whole numbers by their tag."""

import math
import struct
from collections.abc import Mapping

from pipelines.errors import ImageError
from pipelines.preprocess.limits import check_size

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_PLACES, ORIENTATION, _SAMPLES, _ROWS, _LENGTHS = 273, 274, 277, 278, 279
_PLANES, _PREDICTOR, _PALETTE = 284, 317, 320

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_TYPES = {3: "H", 4: "I"}
_MOST = 1 << 16
_PLAIN, _PACKED = 1, (5, 8, 32946)
_KINDS = {(0, 1), (1, 1), (2, 3), (3, 1)}
"""Photometric interpretation and samples of gray, RGB and a palette."""


def tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the SHORTs and LONGs of the first directory; what cannot be read is left out."""
    order = _ORDERS.get(data[:4])
    found: dict[int, tuple[int, ...]] = {}
    if order is None or len(data) < 8:
        return found
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    if first + 2 > len(data):
        return found
    (entries,) = struct.unpack_from(f"{order}H", data, first)
    for at in range(first + 2, min(first + 2 + 12 * entries, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
        if kind not in _TYPES or not 0 < count <= _MOST:
            continue
        form = f"{order}{count}{_TYPES[kind]}"
        place, size = at + 8, struct.calcsize(form)
        if size > 4:
            (place,) = struct.unpack_from(f"{order}I", data, place)
        if place + size <= len(data):
            found.setdefault(tag, struct.unpack_from(form, data, place))
    return found


def admitted(data: bytes) -> tuple[bytes, bool, int, int]:
    """Return the first picture of a TIFF alone, written anew: libraries differ in what they mend,
    and some crash. Also whether it is compressed, and its width and height as stored.

    It must be of 8 bits a colour, gray, RGB or with a palette, without alpha, in strips, and plain
    or compressed by LZW or deflate. Its orientation is kept. Raises ImageError otherwise.
    """
    found = tags(data)
    one = {tag: values[0] for tag, values in found.items()}
    width, height = one.get(_WIDTH, 0), one.get(_HEIGHT, 0)
    samples, packing = one.get(_SAMPLES, 1), one.get(_COMPRESSION, _PLAIN)
    check_size(width, height, name="TIFF")
    if set(found.get(_BITS, (1,))) != {8}:
        raise ImageError("the TIFF has other than 8 bits a colour")
    if (one.get(_PHOTOMETRIC), samples) not in _KINDS:
        raise ImageError("the TIFF is neither gray, nor RGB, nor with a palette; or it has alpha")
    if packing not in (_PLAIN, *_PACKED) or one.get(_PREDICTOR, 1) not in (1, 2):
        raise ImageError("the TIFF is compressed in a way that is not read")
    if one.get(_PLANES, 1) != 1 or one.get(_FILL, 1) != 1:
        raise ImageError("the TIFF has its colours or bits in an unusual order")
    if one[_PHOTOMETRIC] == 3 and len(found.get(_PALETTE, ())) != 768:
        raise ImageError("the TIFF is corrupt: its palette is not of 256 colours")
    rows = min(one.get(_ROWS, height), height)
    strips = _strips(data, found, count=math.ceil(height / max(rows, 1)))
    if packing == _PLAIN and sum(map(len, strips)) != width * height * samples:
        raise ImageError("the TIFF is corrupt: its pixels are not as many as its size says")
    kept = {_WIDTH: (width,), _HEIGHT: (height,), _BITS: (8,) * samples, _COMPRESSION: (packing,)}
    kept |= {tag: found[tag] for tag in (_PHOTOMETRIC, _PALETTE, _PREDICTOR) if tag in found}
    kept |= {_SAMPLES: (samples,), _ROWS: (rows,), _PLANES: (1,)}
    if 1 <= one.get(ORIENTATION, 0) <= 8:
        kept[ORIENTATION] = (one[ORIENTATION],)
    return _written(kept, strips), packing != _PLAIN, width, height


def _strips(data: bytes, found: Mapping[int, tuple[int, ...]], *, count: int) -> list[bytes]:
    places, lengths = found.get(_PLACES, ()), found.get(_LENGTHS, ())
    if not len(places) == len(lengths) == count:
        raise ImageError("the TIFF is in tiles, or has other strips than its size says")
    if any(place + length > len(data) for place, length in zip(places, lengths, strict=True)):
        raise ImageError("the TIFF is truncated")
    return [data[place : place + length] for place, length in zip(places, lengths, strict=True)]


def _written(kept: Mapping[int, tuple[int, ...]], strips: list[bytes]) -> bytes:
    """A little-endian TIFF of these tags, with LONGs for its strips and SHORTs where they do."""
    lengths = [len(strip) for strip in strips]
    entries = sorted([*kept.items(), (_PLACES, tuple(lengths)), (_LENGTHS, tuple(lengths))])
    behind = 8 + 2 + 12 * len(entries) + 4
    room = sum(4 * len(values) for _, values in entries if len(values) > 1)
    starts = [behind + room + sum(lengths[:number]) for number in range(len(strips))]
    directory, arrays = [struct.pack("<H", len(entries))], b""
    for tag, values in entries:
        numbers = tuple(starts) if tag == _PLACES else values
        kind = 4 if tag in (_WIDTH, _HEIGHT, _ROWS, _PLACES, _LENGTHS) else 3
        packed = struct.pack(f"<{len(numbers)}{_TYPES[kind]}", *numbers)
        if len(packed) > 4:
            place = struct.pack("<I", behind + len(arrays))
            arrays += packed + bytes(-len(packed) % 4)
        else:
            place = packed.ljust(4, b"\0")
        directory.append(struct.pack("<HHI", tag, kind, len(numbers)) + place)
    head = b"II*\0\x08\0\0\0" + b"".join(directory) + bytes(4) + arrays
    return head.ljust(behind + room, b"\0") + b"".join(strips)
