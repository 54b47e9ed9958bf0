"""Whatever is killed at whatever moment: the records are there, and nothing stays behind."""

import random
import time
from pathlib import Path

import pytest
from kills import killed
from processes import FUZZ_S

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("triton_parts")]
BUSY_S = 60.0
"""Within so long everything has ended, also while the machine is busy with other tests."""


def test_a_process_of_a_run_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """One, or as many as the time allows."""
    until = time.monotonic() + FUZZ_S - 60
    seed = random.randrange(1 << 32)
    while True:
        chance = random.Random(seed)
        victim = chance.choice(("bench", "generator", "server", "stub", "monitor"))
        done = killed(victim, chance, tmp_path / str(seed), gone_within_s=BUSY_S)
        assert done.faults == [], f"seed {seed}: {done}\n{done.said}"
        seed += 1
        if time.monotonic() > until:
            return
