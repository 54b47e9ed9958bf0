"""What is hidden from the suite is skipped, and what was skipped is said at its end."""

from pathlib import Path

import pytest
from processes import PYTHON, ROOT, run

TESTS = """
import shutil, subprocess
import need, pytest

@pytest.mark.parametrize("number", range(3))
def test_hidden(number):
    need.need("java", "kafka")

def test_it_is_not_on_path():
    assert shutil.which("java") is None
    assert subprocess.run(["sh", "-c", "type ls && ! type java"]).returncode == 0

def test_missing():
    need.need_built(False, "the moon is not built", "make moon")
"""


@pytest.mark.parametrize("ci", ["true", "false"])
def test_what_is_hidden_is_skipped_and_what_is_missing_fails_in_ci(tmp_path: Path, ci: str) -> None:
    (tmp_path / "test_made_up.py").write_text(TESTS)
    done = run(
        (PYTHON, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "-p", "conftest"),
        *("-p", "no:cacheprovider", "-p", "randomly", "--randomly-seed=7"),
        *("--without=java kafka", tmp_path),
        folder=tmp_path,
        variables={"CI": ci, "PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/support"},
    )
    *_, counts = done.stdout.splitlines()
    assert "3 skipped: java is hidden: leave it out of WITHOUT\n" in done.stdout, done.stderr
    assert 'again: make test ORDER=random SEED=7 WITHOUT="java kafka"\n' in done.stdout
    missing = "the moon is not built: make moon"
    if ci == "true":
        assert (done.returncode, counts[:29]) == (1, "1 failed, 1 passed, 3 skipped")
        assert f"Failed: {missing}" in done.stdout
    else:
        assert (done.returncode, counts[:19]) == (0, "1 passed, 4 skipped")
        assert f"1 skipped: {missing}\n" in done.stdout
