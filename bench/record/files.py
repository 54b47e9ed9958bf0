"""Files that are read and written whole: JSON with a version in it, and lines.

A folder of results may come from a stranger: what is read here is a regular file of bearable size,
and whatever else it is, is one ResultsError that names it.
"""

import contextlib
import io
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from pipelines.errors import ResultsError

T = TypeVar("T")

MOST_BYTES = 64 << 20
"""Of a file that is read whole, and of a line: far above what a run writes."""

BLOCK_BYTES = 16 << 20
"""Of a file of lines that is read bit by bit."""

_OBEYED = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""The control characters that JSON lets through and some terminals obey."""


def as_json(thing: Any) -> bytes:
    """Return it as indented JSON that a terminal only shows, without a newline at its end.

    Raises ResultsError when a name in it cannot be written as UTF-8.
    """
    try:
        packed = msgspec.json.encode(thing)
    except UnicodeEncodeError as error:
        raise ResultsError(
            f"a name in the results is not valid Unicode: {error}",
            hint="rename the results folder in UTF-8",
        ) from error
    text = msgspec.json.format(packed, indent=2).decode()
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file as a whole or not at all. Raises ResultsError when the disk is full."""
    with writing(path) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write bit by bit, which then replaces that at the path; not where there is an
    error, of which one of the operating system becomes a ResultsError.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror or error}") from error


def opened(path: Path) -> BinaryIO:
    """Open a regular file to read. Raises ResultsError when it is no such file, FileNotFoundError
    when it is not there.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ResultsError(f"cannot read {path}: it is no regular file")
        return path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error


def read_whole(path: Path) -> bytes:
    """Return what the file holds. Raises as `opened`, and above MOST_BYTES."""
    with opened(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ResultsError(f"cannot read {path}: it is larger than {MOST_BYTES >> 20} MiB")
    return data


def decoded(data: bytes, decode: Callable[[bytes], T], *, named: str) -> T:
    """Return what the JSON holds. Raises ResultsError, of what is `named`, when it is damaged."""
    try:
        return decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{named} is damaged: {error}") from error


def read_versioned(
    path: Path, kind: type[T], *, newest: int, named: str, absent: ResultsError
) -> T:
    """Return the JSON object of that kind in the file; its `schema` says which version it is.

    Raises `absent` without the file, and ResultsError without its folder and when it is damaged or
    newer than `newest`, which begins with the words `named`.
    """
    if not path.parent.is_dir():
        raise ResultsError(f"there is no folder {path.parent}", hint=absent.hint)
    try:
        data = read_whole(path)
        schema = msgspec.json.decode(data, type=dict[str, Any]).get("schema")
    except FileNotFoundError:
        raise absent from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"cannot read {path}: {error}") from error
    if type(schema) is not int or not 1 <= schema <= newest:
        raise ResultsError(
            f"{named} {schema!r}; this version reads up to {newest}",
            hint="read it with the version of visiontax that wrote it, or a newer one",
        )
    return decoded(data, msgspec.json.Decoder(kind).decode, named=str(path))


def blocks_of(path: Path, places: Counter[Path] | None = None) -> Iterator[bytes]:
    """Yield the complete lines of a file that may have been cut off in mid-line, many at a time.

    It goes on after so many bytes as `places` has of it, which is kept up to date.
    """
    places = Counter() if places is None else places
    with opened(path) as file:
        file.seek(places[path])
        while block := file.read(BLOCK_BYTES):
            block += (rest := file.readline(MOST_BYTES))
            if len(rest) == MOST_BYTES and not rest.endswith(b"\n"):
                raise ResultsError(
                    f"{path} is damaged: it has a line of more than {MOST_BYTES >> 20} MiB"
                )
            whole = block[: block.rfind(b"\n") + 1]
            places[path] += len(whole)
            if whole:
                yield whole
            if whole != block:
                return  # what follows by now, in a file that grows, would begin in mid-line


def lines_of(path: Path, places: Counter[Path] | None = None) -> Iterator[bytes]:
    """Yield the lines one by one, as `blocks_of` does many."""
    places = Counter() if places is None else places
    for block in blocks_of(path, Counter(places)):
        for line in io.BytesIO(block):
            places[path] += len(line)
            yield line


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Return what each line of JSON holds; nothing where there is no such file.

    Raises ResultsError naming the line that is damaged.
    """
    if not path.exists():
        return []
    decode = msgspec.json.Decoder(kind).decode
    return [
        decoded(line, decode, named=f"{path}, line {number}")
        for number, line in enumerate(lines_of(path), start=1)
    ]
