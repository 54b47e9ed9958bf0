"""Files that are read and written whole: JSON with a version in it, and lines."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pipelines.errors import ResultsError

T = TypeVar("T")

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
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error


def read_versioned(
    path: Path, kind: type[T], *, newest: int, named: str, absent: ResultsError
) -> T:
    """Return the JSON object of that kind in the file; its `schema` says which version it is.

    Raises `absent` without the file, and ResultsError when it is damaged or newer than `newest`,
    which begins with the words `named`.
    """
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=dict[str, Any]).get("schema")
    except FileNotFoundError:
        raise absent from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"cannot read {path}: {error}") from error
    if type(schema) is not int or not 1 <= schema <= newest:
        raise ResultsError(
            f"{named} {schema!r}; this version reads up to {newest}",
            hint="read it with the version of visiontax that wrote it, or a newer one",
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise ResultsError(f"{path} is damaged: {error}") from error


def lines_of(path: Path, places: Counter[Path] | None = None) -> Iterator[bytes]:
    """Yield the complete lines of a file that may have been cut off in mid-line.

    It goes on after so many bytes as `places` has of it, which is kept up to date.
    """
    places = Counter() if places is None else places
    with path.open("rb") as file:
        file.seek(places[path])
        for line in file:
            if line.endswith(b"\n"):
                places[path] += len(line)
                yield line
