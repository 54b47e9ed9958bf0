"""Locust's web page, asked as a browser asks it."""

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import LOCUST, TIMEOUT_S, started, until

from pipelines.processes import free_port


@dataclass
class Page:
    """A Locust with a page; its runs go to `folder`, and what it says to `log`."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    log: Path

    def get(self, path: str, **form: object) -> bytes | None:
        """What it answers, None where it does not."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(self.url + path, data, timeout=TIMEOUT_S) as reply:
                return bytes(reply.read())
        except OSError:
            return None

    def start(self, **fields: object) -> dict[str, Any]:
        """Press Start; what the page then says."""
        form = {"user_count": 2, "spawn_rate": 2} | fields
        answer: dict[str, Any] = json.loads(self.get("/swarm", **form) or b"{}")
        return answer

    def stop(self) -> None:
        """Press Stop."""
        self.get("/stop", now="yes")

    def runs(self) -> list[Path]:
        """The folders of the runs that have ended, in their order."""
        said = self.log.read_text().splitlines()
        return [Path(line.removeprefix("results: ")) for line in said if "results: " in line]

    def run(self, **fields: object) -> Path:
        """Make a run of so many seconds as `run_time` says; its folder."""
        before = len(self.runs())
        answer = self.start(**fields)
        assert answer["success"], answer
        until(lambda: len(self.runs()) > before, "the end of the run")
        return self.runs()[-1]

    def stats(self) -> dict[str, Any]:
        """All that the page knows of the last run, of which the table's last line is the whole."""
        told: dict[str, Any] = json.loads(self.get("/stats/requests") or b"{}")
        return told


@contextlib.contextmanager
def serving(folder: Path, *options: object, command: Sequence[str] = LOCUST) -> Iterator[Page]:
    """Start one; when it ends, what is left of it is killed."""
    port = free_port()
    where = ("--web-host", "127.0.0.1", "--web-port", port, "--results", folder / "results")
    log = folder / "page.log"
    with started(tuple(command), *where, *options, log=log) as process:
        page = Page(process, f"http://127.0.0.1:{port}", folder / "results", log)
        until(lambda: page.get("/"), "the page")
        yield page
