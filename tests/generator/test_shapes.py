"""Locust's load shapes: a closed loop, which says so."""

from pathlib import Path

import pytest
from processes import PYTHON, bench, run

from bench.record import records
from bench.record.manifest import read_manifest

STAIRS = """
from locust import LoadTestShape

from bench.load import *


class Stairs(LoadTestShape):
    def tick(self):
        elapsed_s = self.get_run_time()
        return (min(1 + int(elapsed_s), 3), 10) if elapsed_s < 5 else None
"""


@pytest.fixture
def locust(tmp_path: Path) -> tuple[str, ...]:
    """A load with a shape that asks for one more user each second, until there are three."""
    (tmp_path / "shaped.py").write_text(STAIRS)
    fake = ("--transport", "fake", "--service", "5ms", "--images", "small", "--warmup", "500ms")
    where = ("-f", str(tmp_path / "shaped.py"), "--results", str(tmp_path / "results"))
    return (PYTHON, "-m", "locust", "--headless", *where, *fake)


def test_a_shape_is_a_closed_loop_and_says_so(locust: tuple[str, ...], tmp_path: Path) -> None:
    """Its time starts with the load, though measuring DALI's steps takes longer than its steps."""
    done = run(locust, "--preprocess", "dali", "--place", "client")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    manifest = read_manifest(folder)
    assert manifest.shape == "Stairs"
    assert manifest.window_end_ns
    assert manifest.window_end_ns - manifest.window_start_ns > 0.95 * (5 - 0.5 - 1) * 1e9
    users = {one.id.rpartition("-")[0] for one in records.read_requests(folder)}
    assert len(users) == 3
    assert "users by Stairs (closed loop)" in " ".join(bench("report", folder).stdout.split())


def test_a_shape_and_a_rate_are_refused(locust: tuple[str, ...]) -> None:
    done = run(locust, "--rate", "5/s")
    assert done.returncode == 1
    assert "error: the load shape Stairs is a closed loop" in done.stderr
    assert "hint: leave the shape or the rate out" in done.stderr
