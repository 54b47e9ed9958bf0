"""Files of lines that are read while they are written."""

import io
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.record import files


class Growing(io.BytesIO):
    """A file of which the rest of a line, and more, comes once its end has been read."""

    def readline(self, *size: int) -> bytes:  # type: ignore[override]
        found = super().readline(*size)
        if self.tell() == len(self.getvalue()) == len(b"one\ntw"):
            self.write(b"o\nthree\n")
            self.seek(len(b"one\ntw"))
        return found


def test_a_line_that_is_being_written_is_read_whole_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Growing(b"one\ntw")
    monkeypatch.setattr(files, "opened", lambda _: nullcontext(file))
    places: Counter[Path] = Counter()
    path = tmp_path / "lines"
    assert [*files.blocks_of(path, places)] == [b"one\n"]
    assert [*files.blocks_of(path, places)] == [b"two\nthree\n"]
    assert [*files.blocks_of(path, places)] == []
