"""`bench baseline`: runs that are kept in the repository, to compare later ones with."""

import shutil
import tempfile
from pathlib import Path

from bench.ledger.reading import summary_of
from bench.record.manifest import MANIFEST
from pipelines.errors import VisiontaxError


def kept(folder: Path) -> list[Path]:
    """Return the baseline's runs in their order of time, none where there is no baseline."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def keep(runs: list[Path], folder: Path) -> None:
    """Make copies of the runs the baseline, all of them or, after an error, none.

    Raises ResultsError when one is no run, VisiontaxError when its measurement is INVALID.
    """
    for run in runs:
        summary = summary_of(run)
        if not summary.valid:
            raise VisiontaxError(
                f"{run} is INVALID: {', '.join(issue.code for issue in summary.issues)}",
                hint="'bench report' says what to mend; a baseline needs runs to be trusted",
            )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for run in runs:
            shutil.copytree(run, Path(temporary) / run.resolve().name)
        for old in kept(folder):
            shutil.rmtree(old)
        for new in Path(temporary).iterdir():
            new.rename(folder / new.name)
