"""A run that is larger than the memory has the same report; time and memory grow with the run."""

import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from processes import PYTHON, ROOT, bench, run

from bench.commands.selfcheck.scale import write_run
from bench.ledger.attribution import stored
from bench.ledger.reading import summary_of
from bench.record import files
from pipelines.errors import ResultsError

REPORTED = Path(__file__).parent / "reported.json"
"""What `bench report` prints of a run in results/baseline, by which nothing here was computed."""

COST = """
import re, sys, time
from pathlib import Path
from bench.ledger.reading import summary_of
from bench.record import files

files.BLOCK_BYTES = 1 << 20
first, folder = map(Path, sys.argv[1:])
summary_of(first)
begun = time.process_time()
summary_of(folder)
took_s = time.process_time() - begun
print(took_s, 1024 * int(re.search("VmHWM:(.*)kB", Path("/proc/self/status").read_text())[1]))
"""
"""Prints the CPU time, in s, once all is imported, and the greatest memory: by the kernel's mark,
since what `resource` says has that of the process which started this one in it.
"""


def made(folder: Path, requests: int, *, transport: str = "http") -> Path:
    folder.mkdir()
    write_run(folder, requests=requests, transport=transport)
    return folder


def test_time_and_memory_grow_with_the_requests(tmp_path: Path) -> None:
    few, many = 20_000, 100_000
    runs = [made(tmp_path / str(n), n) for n in (10, few, many)]
    times: list[tuple[float, float]] = []
    for _ in range(3):  # others slow a process down, even by its own clock
        told = [run((PYTHON, "-c", COST), runs[0], one).stdout.split() for one in runs[1:]]
        (took_s, had), (then_s, then_had) = (map(float, one) for one in told)
        assert (then_had - had) / (many - few) < 400, "bytes a request"
        times.append((took_s, then_s))
        least_s, then_least_s = (min(each) for each in zip(*times, strict=True))
        if then_least_s / least_s < 1.6 * many / few:
            return
    raise AssertionError(f"not in proportion: {times}")


@pytest.mark.parametrize("transport", ["http", "fake"])
def test_what_does_not_fit_in_memory_has_the_same_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    folder = made(tmp_path / "run", 500, transport=transport)
    whole = msgspec.to_builtins(summary_of(folder))
    monkeypatch.setattr(files, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(stored, "IN_MEMORY_BYTES", 5_000)
    assert msgspec.to_builtins(summary_of(folder)) == whole
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ResultsError, match="cannot write a temporary file") as told:
        summary_of(folder)
    assert "TMPDIR" in told.value.hint


def test_a_real_runs_report_is_what_it_was() -> None:
    known = json.loads(REPORTED.read_bytes())
    folder = ROOT / "results" / "baseline" / known["run"]
    told = json.loads(bench("report", folder, "--format", "json").stdout)
    assert {name: told[name] for name in known} == known
