"""What servers of the user's tell of themselves by `visiontax_spans`, fetched into a run's folder.

While a run's folder is below theirs, they write there. It is named after its monitor, whose number
tells whether it was left by one that was killed.
"""

import contextlib
import os
import shutil
import time
from collections import Counter
from pathlib import Path

import click

from bench.record.files import lines_of
from pipelines import processes
from pipelines.servers import visiontax_spans

LAST_S = 2 * visiontax_spans.WRITE_S
"""How long servers have to write their last spans."""


class OwnSpans:
    """The spans told to one run. Servers tell nothing where their folder is not ours to make."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._places = folder, Counter[Path]()
        base = Path(visiontax_spans.folder())
        self._told = base / f"{processes.PREFIX}-{processes.owner()}-spans"
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not visiontax_spans.is_safe(str(base)):
                raise PermissionError(None, f"{base} belongs to another user")
            _sweep(base)
            self._told.mkdir(parents=True)  # the end of another run may have removed the one
            # Where others may write in the one, because servers are theirs, they may in the other.
            self._told.chmod(base.stat().st_mode & 0o777)
        except OSError as error:
            said = f"servers cannot tell of their own spans: {error.strerror or error}"
            click.echo(f"warning: {said}", err=True)

    def fetch(self) -> None:
        """Take what was written since, and say that the run goes on."""
        with contextlib.suppress(OSError):
            os.utime(self._told)
        for path in sorted(self._told.glob("spans-*.jsonl")):
            with (self._folder / path.name).open("ab") as file:
                file.writelines(lines_of(path, self._places))

    def finish(self) -> None:
        """Take the last, and have servers tell no more."""
        try:
            if self._places or any(self._told.glob("*")):
                time.sleep(LAST_S)
            self.fetch()
        finally:
            shutil.rmtree(self._told, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run may need it
                self._told.parent.rmdir()


def _sweep(base: Path) -> None:
    """Remove the folders of runs that are gone."""
    for name in processes.abandoned((path.name for path in base.iterdir()), processes.PREFIX):
        shutil.rmtree(base / name, ignore_errors=True)
