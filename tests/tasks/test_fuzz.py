"""Mutated headers neither kill a way nor divide the ways; for longer by `make fuzz`."""

import random
import shutil
from pathlib import Path

import fuzz
import pytest
from processes import FUZZ_S, PYTHON, TIMEOUT_S, run

from pipelines import paths

CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
"""glibc ends a process that has written beyond what it was given."""


@pytest.mark.fuzz
def test_no_mutated_header_kills_a_way_or_divides_the_ways(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    program = (PYTHON, fuzz.__file__)
    limit_s = FUZZ_S + TIMEOUT_S
    done = run(program, FUZZ_S, seed, tmp_path, timeout_s=limit_s, variables=CHECKED)
    found = list(tmp_path.iterdir())
    if found:
        shutil.copytree(tmp_path, paths.BUILD / "fuzz" / str(seed))
    assert (done.returncode, found) == (0, []), f"seed {seed}: {done.stdout}{done.stderr[-2000:]}"
