"""A model's trace setting, changed for a while and put back as it was.

Before anything is changed a journal says how it was: whoever comes next puts right what one that
was killed has left. Only the model's own setting is changed, so that others are traced no more
than before.
"""

import contextlib
import hashlib
import json
import shutil
import urllib.error
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bench.record.files import write_atomically
from bench.record.trace import numbered
from pipelines import paths, processes
from pipelines.errors import ServerError, VisiontaxError, words
from pipelines.servers import control

JOURNALS = paths.BUILD / "attach"


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put back: the setting as it was `before`, and as it was `changed`.

    Files of `trace_file` from the number `first` on are of the traces that the change made.
    """

    url: str
    model: str
    before: dict[str, Any]
    changed: dict[str, Any]
    trace_file: str = ""
    first: int = 0


def read(url: str, model: str) -> dict[str, Any]:
    """Return the setting. Raises ServerError when the server does not tell."""
    return _asked(url, model)


class Borrowed:
    """A changed setting. `back` puts it back; so does the next call of `put_right`."""

    def __init__(self, url: str, model: str, changes: Mapping[str, Any]) -> None:
        """Change it. Raises ServerError when the server does not allow that."""
        self._tried = False
        before = read(url, model)
        trace_file = str(before.get("trace_file") or "")
        self.file = Path(trace_file) if trace_file else None
        last = max((number for number, _ in self._files(0)), default=-1)
        self.journal = Journal(
            url=url,
            model=model,
            before={name: before[name] for name in changes if name in before},
            changed=dict(changes),
            trace_file=trace_file,
            first=last + 1,
        )
        JOURNALS.mkdir(parents=True, exist_ok=True)
        of = hashlib.sha256(f"{url} {model}".encode()).hexdigest()[:12]
        self._path = JOURNALS / f"{processes.PREFIX}-{processes.owner()}-{of}.json"
        write_atomically(self._path, msgspec.json.encode(self.journal))
        try:
            _asked(url, model, changes)
        except BaseException:
            self.back()
            raise

    def _files(self, first: int) -> list[tuple[int, Path]]:
        return [one for one in numbered(self.file) if one[0] >= first] if self.file else []

    def files(self) -> list[Path]:
        """Return the files of traces that the server has written since, if this host has them."""
        return [path for _, path in self._files(self.journal.first)]

    def flush(self) -> None:
        """Have the server write out what it has traced so far."""
        _asked(self.journal.url, self.journal.model, {"trace_level": ["TIMESTAMPS"]})

    def back(self) -> None:
        """Put it back, if that was not tried before.

        Raises ServerError when the server is away; the journal then stays.
        """
        if not self._tried:
            self._tried = True
            _put_back(self.journal)
            self._path.unlink(missing_ok=True)


def put_right(url: str) -> list[str]:
    """Put back what calls that were killed have left of this server, and say what was done.

    Raises ServerError when it refuses. What they have left on this host goes too.
    """
    said = []
    names = [path.name for path in JOURNALS.iterdir()] if JOURNALS.is_dir() else []
    for path in (JOURNALS / name for name in processes.abandoned(names, processes.PREFIX)):
        if path.suffix != ".json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        try:
            journal = msgspec.json.decode(path.read_bytes(), type=Journal)
        except (OSError, msgspec.DecodeError):
            path.unlink(missing_ok=True)  # it was killed before anything was changed
            continue
        if journal.url != url:
            continue
        now = read(url, journal.model)
        if all(now.get(name) == value for name, value in journal.changed.items()):
            _put_back(journal)
            said.append(f"{journal.model}: put back the trace setting that a killed call had left")
        for _, file in numbered(Path(journal.trace_file)) if journal.trace_file else ():
            if int(file.suffix[1:]) >= journal.first:
                with contextlib.suppress(OSError):
                    file.unlink()
        path.unlink(missing_ok=True)
    return said


def _put_back(journal: Journal) -> None:
    """Have the model follow the server's setting again; where it had its own, that is set."""
    url, model = journal.url, journal.model
    now = _asked(url, model, dict.fromkeys(journal.changed))
    differing = {n: value for n, value in journal.before.items() if now.get(n) != value}
    if differing:
        _asked(url, model, differing)


def _asked(url: str, model: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    path = f"/v2/models/{quote(model, safe='')}/trace/setting"
    body = None if changes is None else json.dumps(changes).encode()
    try:
        said = json.loads(control.ask(url, path, body=body))
        if not isinstance(said, dict):
            raise ValueError(f"not a setting: {said}")
        return said
    except (OSError, ValueError, VisiontaxError, HTTPException) as error:
        raise ServerError(f"its tracing cannot be set: {why(error)}") from error


def why(error: Exception) -> str:
    """Return a server's own words for an error, where it has any."""
    if isinstance(error, urllib.error.HTTPError):
        return control.words_of(error)
    return words(error) if isinstance(error, VisiontaxError) else str(error)
