"""What servers wrote of a run's requests, read of some of them at a time: its files may be larger
than the memory. What is held of a line is its place, and a hash of whose it is.
"""

import io
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.record import files, trace
from bench.record.files import MOST_BYTES, decoded, lines_of, opened
from bench.record.records import TRACE, ToldSpan

Ints = npt.NDArray[np.int64]

JOINED = (
    *(*trace.KEYS, "REQUEST_START", "HTTP_SEND_START", "GRPC_SEND_START"),
    *("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"),
)
"""The columns of a trace that are joined with requests."""

_QUOTED = re.compile('[",\r\n]')


class Lines:
    """Where in a file lines are, by hashes of whose they are: too many of them, never too few."""

    def __init__(self, keys: Iterable[int], starts: Iterable[int], ends: Iterable[int]) -> None:
        whose, *bounds = (np.asarray(each, np.int64) for each in (keys, starts, ends))
        order = np.argsort(whose)
        self._keys, (self._starts, self._ends) = whose[order], (each[order] for each in bounds)

    def read(self, file: BinaryIO, keys: Iterable[int]) -> bytes:
        """Return the lines with one of the keys, in the order of the file."""
        wanted = np.unique(np.fromiter(keys, np.int64))
        first, last = (np.searchsorted(self._keys, wanted, side) for side in ("left", "right"))
        found = np.arange((last - first).sum())
        found += np.repeat(last - np.cumsum(last - first), last - first)
        starts, which = np.unique(self._starts[found], return_index=True)
        ends = self._ends[found][which]
        new = np.ones(len(starts), bool)  # what follows the one before is read together with it
        new[1:] = starts[1:] != ends[:-1]
        parts = []
        for start, end in zip(starts[new].tolist(), ends[np.roll(new, -1)].tolist(), strict=True):
            file.seek(start)
            parts.append(file.read(end - start))
        return b"".join(parts)


class Trace:
    """The trace of a run; of one that goes on, what is not in `places`. `rooted` finds with an
    execution also those that it asked for, whatever their request is.

    Raises ResultsError where it is damaged.
    """

    def __init__(self, folder: Path, places: Counter[Path], *, rooted: bool = False) -> None:
        self._path, self._open = folder / TRACE, trace.opener(folder, places)
        with self._open() as file, trace.told_damaged(self._path, file):
            self._head = file.readline()
            trace.parsed(io.BytesIO(self._head))
            self._lines = self._index(file, rooted=rooted)

    def of(self, ids: Collection[str], *, columns: Sequence[str] = trace.COLUMNS) -> pd.DataFrame:
        """Return these columns of all rows of requests, and perhaps some of others."""
        with self._open() as file, trace.told_damaged(self._path, file):
            found = self._lines.read(file, _keys(ids))
            return trace.parsed(io.BytesIO(self._head + found), columns=columns)

    def _index(self, file: BinaryIO, *, rooted: bool) -> Lines:
        """Raises ResultsError where a line has fields too few or too many."""
        commas, odd, end = self._head.count(b","), False, len(self._head)
        found, asked = [(np.zeros(0, np.int64), np.array([end]))], array("q")
        while block := file.read(files.BLOCK_BYTES) + file.readline(MOST_BYTES):
            lines = io.BytesIO(block).readlines()
            odd |= block.count(b",") != commas * len(lines)
            keys = np.array([hash(line.partition(b",")[0]) for line in lines])
            ends = end + np.cumsum([*map(len, lines)])
            end = int(ends[-1])
            for line in lines if rooted else ():
                _, number, parent, *_ = line.rsplit(b",", commas - 1)
                asked.extend((int(number), int(parent)))
            if not rooted:  # those of a request often follow each other
                last = np.append(keys[1:] != keys[:-1], True)
                keys, ends = keys[last], ends[last]
            found.append((keys, ends))
        if odd:  # or commas are quoted
            trace.check(self._path, file)
        keys, ends = (np.concatenate(one) for one in zip(*found, strict=True))
        if rooted:
            keys = keys[_roots(*np.asarray(asked).reshape(-1, 2).T)]
        return Lines(keys, ends[:-1], ends[1:])


def _keys(ids: Collection[str]) -> Iterator[int]:
    """The hashes of what the lines of CSV begin with, up to the first comma."""
    if _QUOTED.search("".join(ids)):
        quoted = ('"' + id.replace('"', '""') if _QUOTED.search(id) else id for id in ids)
        return (hash(id.partition(",")[0].encode()) for id in quoted)
    return map(hash, map(str.encode, ids))


def _roots(numbers: Ints, parents: Ints) -> Ints:
    """Return for each execution which asked for it, or for that, and so on."""
    order = np.argsort(numbers)
    at = np.searchsorted(numbers[order], parents).clip(max=max(0, len(order) - 1))
    found = (parents > 0) & (numbers[order][at] == parents)
    roots = np.where(found, order[at], np.arange(len(order)))
    for _ in range(64):  # those of a damaged trace may go round in a circle
        roots = roots[roots]
    return roots


class Told(dict[str, list[ToldSpan]]):
    """The spans that servers told of themselves, by the ids of the requests that were `load`ed; of
    a run that goes on, those that are not in `places`. Raises ResultsError naming a damaged line.
    """

    def __init__(self, folder: Path, places: Counter[Path]) -> None:
        super().__init__()
        self._paths, self._places = sorted(folder.glob("spans-*.jsonl")), places
        self._decode = msgspec.json.Decoder(ToldSpan).decode
        self._lines: list[Lines] = []

    def all(self) -> Iterator[ToldSpan]:
        """Yield all of them, once."""
        for path in self._paths:
            keys, starts, ends = array("q"), array("q"), array("q")
            for number, line in enumerate(lines_of(path, self._places), start=1):
                told = decoded(line, self._decode, named=f"{path}, line {number}")
                ids = (*told.ids, *told.waiting)
                keys.extend(map(hash, ids))
                ends.extend([self._places[path]] * len(ids))
                starts.extend([self._places[path] - len(line)] * len(ids))
                yield told
            self._lines.append(Lines(keys, starts, ends))

    def load(self, ids: set[str]) -> None:
        """Have what is of these requests, and nothing else."""
        self.clear()
        for path, lines in zip(self._paths, self._lines, strict=True):
            with opened(path) as file:
                found = lines.read(file, map(hash, ids))
            for told in msgspec.json.Decoder(ToldSpan).decode_lines(found):
                for id in (*told.ids, *told.waiting):
                    if id in ids:
                        self.setdefault(id, []).append(told)
