"""The images of a folder of the user's: searched to its bottom, told by their bytes, not names."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.record.records import Image
from pipelines.errors import ImageError, SourceError
from pipelines.preprocess.formats import admitted
from pipelines.preprocess.ways import lacks

SHOWN = 5
"""How many of the files that are left out are named."""


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    `images`: by path, in the order of the paths.
    `left_out`: files that no way can read, or not this one, as paths in the folder, and why.
    """

    images: dict[Path, Image]
    left_out: list[tuple[Path, str]]

    def said(self) -> str:
        """Return how many were left out, and of the first ones which and why; else nothing."""
        if not self.left_out:
            return ""
        named = [f"{path} ({why})" for path, why in self.left_out[:SHOWN]]
        more = len(self.left_out) - len(named)
        named += [f"and {more} more"] if more else []
        total = len(self.images) + len(self.left_out)
        return f"{len(self.left_out)} of {total} files left out: {', '.join(named)}"


def found_in(source: Path, *, preprocess: str | None = None) -> Found:
    """Return what a folder, or a single file, holds for that way to preprocess; None is any.

    Hidden files and what is no regular file are passed over. Raises SourceError when nothing that
    can be read is there.
    """
    missing = lacks(preprocess) if preprocess else ()
    images: dict[Path, Image] = {}
    left_out = []
    for path in sorted(_files(source)):
        try:
            status = path.stat()
            kind, width, height = _look(path, status.st_mtime_ns, status.st_size)
            if kind in missing:
                raise ImageError(f"{preprocess} reads no {kind} here")
            name = os.fsencode(_below(source, path)).decode(errors="replace")
            images[path] = Image(name, kind, width, height, status.st_size)
        except OSError as error:
            left_out.append((_below(source, path), error.strerror or type(error).__name__))
        except ImageError as error:
            left_out.append((_below(source, path), str(error)))
    found = Found(images, left_out)
    if not images:
        raise SourceError(
            f"there is no image in {source}" + (f": {said}" if (said := found.said()) else ""),
            hint="put JPEG, PNG, WebP, BMP or TIFF files there, or name an image set",
        )
    return found


def _below(source: Path, path: Path) -> Path:
    return Path(path.name) if path == source else path.relative_to(source)


@functools.cache
def _look(path: Path, modified_ns: int, size_bytes: int) -> tuple[str, int, int]:
    """Return an image's format, width and height; the file is read again only after a change."""
    del modified_ns, size_bytes
    picture = admitted(path.read_bytes())
    return picture.format, picture.width, picture.height


def _files(source: Path) -> Iterator[Path]:
    """Every regular file, once, however links go round."""
    if source.is_file():
        yield source
        return
    seen = set()
    for folder, below, names in os.walk(source, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path
