"""Images with mutated headers, given to every way; run as a program: `fuzz.py SECONDS SEED FOLDER`.

The image in flight stands in the folder while the ways have it, so that it is there when one of
them takes the process with it. Ways that do not agree whether it can be read are a finding too.
"""

import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pictures import GOOD, ODD, exif_of

from pipelines.errors import ImageError
from pipelines.preprocess import formats
from pipelines.preprocess.choose import WAYS
from pipelines.preprocess.ways import Preprocessor, lacks, preprocessor
from pipelines.tasks import task
from pipelines.tasks.tensors import Tensor

IN_FLIGHT = "in-flight"
FAR = 4 / 255 / 0.225
"""Four levels, as the DNN sees them."""

SOS = 0xDA
SEEDS = [GOOD, *(image for name, image in ODD.items() if not re.search("3000|between", name))]
HEAD, TAIL = 64, 320
"""In so many bytes at either end the images of other formats have what matters most."""

Segments = list[bytes]
Mutation = Callable[[random.Random, Segments], None]


def split(data: bytes) -> tuple[Segments, bytes]:
    """The segments up to the first scan's header, and the rest."""
    segments, at = [], 2
    while data[at + 1] != SOS:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return segments, data[at:]


def _flip(chance: random.Random, segments: Segments) -> None:
    at = chance.randrange(len(segments))
    segment = bytearray(segments[at])
    for _ in range(chance.choice((1, 1, 2, 8))):
        segment[chance.randrange(len(segment))] = chance.choice(
            (0, 1, 0x7F, 0xFF, chance.randrange(256))
        )
    segments[at] = bytes(segment)


def _cut(chance: random.Random, segments: Segments) -> None:
    at = chance.randrange(len(segments))
    segments[at] = segments[at][: chance.randint(1, len(segments[at]))]


def _twice(chance: random.Random, segments: Segments) -> None:
    segments.insert(chance.randrange(len(segments) + 1), chance.choice(segments))


def _away(chance: random.Random, segments: Segments) -> None:
    if len(segments) > 1:
        segments.pop(chance.randrange(len(segments)))


def _moved(chance: random.Random, segments: Segments) -> None:
    segments.insert(chance.randrange(len(segments)), segments.pop(chance.randrange(len(segments))))


def _turned(chance: random.Random, segments: Segments) -> None:
    exif = exif_of(
        chance.randrange(256) if chance.random() < 0.2 else chance.randrange(10),
        order=chance.choice("<>"),
        kind=chance.choice("BHId"),
    )
    segments.insert(chance.randrange(len(segments) + 1), exif)


def _garbage(chance: random.Random, segments: Segments) -> None:
    garbage = chance.choice((b"\xff\x00", b"\xff", b"\xff\xd3", chance.randbytes(5)))
    segments.insert(chance.randrange(len(segments) + 1), garbage)


MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _cut, _twice, _away, _moved, _turned, _garbage)


def mutated(chance: random.Random) -> bytes:
    """An image that was fine."""
    seed = chance.choice(SEEDS)
    if seed[:2] != b"\xff\xd8":
        parts = [seed[:HEAD], seed[HEAD:-TAIL], seed[-TAIL:]]
        for _ in range(chance.choice((1, 1, 2))):
            part = [parts.pop(at := chance.choice((0, 2)))]
            chance.choice((_flip, _cut))(chance, part)
            parts.insert(at, part[0])
        return b"".join(parts)
    segments, rest = split(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        chance.choice(MUTATIONS)(chance, segments)
    return b"".join([b"\xff\xd8", *segments, rest])


def outcomes(ways: dict[str, Preprocessor], image: bytes) -> dict[str, Tensor | str]:
    """What each way that reads the format makes of it, a tensor or an error."""
    said: dict[str, Tensor | str] = {}
    for name, preprocess in ways.items():
        try:
            if formats.admitted(image).format not in lacks(name):
                said[name] = preprocess(image).tensor
        except ImageError as error:
            said[name] = str(error)
    return said


def apart(said: dict[str, Tensor | str]) -> str:
    """How the ways disagree; nothing where they do not."""
    errors = {name: what for name, what in said.items() if isinstance(what, str)}
    if errors:
        return str(errors) if len(errors) < len(said) else ""
    far = max(float(np.abs(one - other).mean()) for one in said.values() for other in said.values())
    return f"{far:.2f} apart" if far > FAR else ""


def main(seconds: float, seed: int, folder: Path) -> None:
    """Fuzz for so long; say how many images were read and refused."""
    model_input = task("classification").dnn.input
    ways = {way: preprocessor(way, model_input) for way in WAYS}
    chance, until = random.Random(seed), time.monotonic() + seconds
    read = refused = 0
    while time.monotonic() < until:
        image = mutated(chance)
        (folder / IN_FLIGHT).write_bytes(image)
        said = outcomes(ways, image)
        if how := apart(said):
            name = f"apart-{read + refused}"
            (folder / name).write_bytes(image)
            print(f"{name}: {how}", flush=True)
        refusing = isinstance(said["opencv"], str)
        read, refused = read + (not refusing), refused + refusing
    (folder / IN_FLIGHT).unlink()
    print(f"{read} read, {refused} refused")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
