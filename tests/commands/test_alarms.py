"""How often the gate is wrong: simulated jobs by the thousand, and what is said of real ones."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from experiments import STAGES, Stages, write_experiment
from simulated import MOST, SCALE, noise, slowed, tosses

from bench.commands.cli import bench
from bench.commands.options import LIMIT
from bench.commands.selfcheck import alarms
from bench.commands.selfcheck.alarms import LIMITS
from bench.compare import gate, randomization
from bench.compare.gate import NOISY, PASS, REGRESSION, is_decided, relative
from bench.compare.observations import STAGE, Observations
from bench.compare.randomization import Floats, looks
from bench.runs.experiments import experiment as experiments
from pipelines.errors import ServerError

JOBS = 1000
MS = {"decode": 3.0, "inference": 5.0, "queue": 1.0, "send": 1.0}
"""Milliseconds of the simulated stages: decode makes 30 % of the latency."""


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    """As many tosses as small chances need, tossed once for all jobs, and few resamples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomization, "FLIPS", 9_999)
        toss = randomization._signs
        tossed = cache(lambda count, flips: toss(count, np.random.default_rng(1), flips))
        patch.setattr(randomization, "_signs", lambda count, _, flips: tossed(count, flips))
        few = partial(randomization.differences, resamples=199, flips=9_999)
        patch.setattr(gate, "difference", lambda blocks: few(blocks[:, np.newaxis])[0])
        yield


def observed(slices: Floats, mine: npt.NDArray[np.bool_]) -> Floats:
    """A side's mean in each block, [blocks, jobs], of all slices' and of which are its own."""
    four = np.where(mine, slices, 0).reshape(len(slices) // 4, 4, -1)
    means: Floats = four.sum(axis=1) / 2
    return means


def simulated(*, slower: float, jobs: int, seed: int) -> list[Observations]:
    """Jobs in which B's decode takes longer by that part."""
    random = np.random.default_rng(seed)
    tossed = tosses(jobs, MOST, random)
    of_b = slowed(tossed)
    machine = noise(jobs, 4 * MOST, random)
    took = {
        STAGE + name: ms * np.exp(machine + noise(jobs, 4 * MOST, random, SCALE / 4))
        for name, ms in MS.items()
    }
    took[f"{STAGE}decode"] *= np.where(of_b, 1 + slower, 1.0)
    took["mean"] = sum(took.values(), start=np.zeros_like(machine))
    a, b = (
        {name: observed(slices, mine) for name, slices in took.items()} for mine in (~of_b, of_b)
    )
    return [
        Observations(*({name: side[name][:, job] for name in took} for side in (a, b)))
        for job in range(jobs)
    ]


def ends_with(seen: Observations, *limits: str) -> tuple[str, str, int]:
    """The worst outcome of a job's limits, the stage to blame, and after how many blocks."""
    changes = [LIMIT.convert(text, None, None) for text in limits or LIMITS]
    planned = looks(MOST)
    for count in planned:
        a, b = ({name: side[name][:count] for name in side} for side in (seen.a, seen.b))
        part = Observations(a, b)
        if count == MOST or is_decided(part, len(planned), thresholds=changes):
            break
    allowed = gate.RATE / (len(planned) * len(changes))
    outcomes = {relative(one, part, allowed=allowed).outcome for one in changes}
    worst = next(one for one in (REGRESSION, NOISY, PASS) if one in outcomes)
    longer = gate.surely_longer(part)
    moved = [stage for stage in gate.moved(part) if stage in longer or not longer]
    return worst, moved[0], count


# Simulated jobs


def test_the_gate_raises_a_false_alarm_in_at_most_1_of_100_jobs() -> None:
    ended = [ends_with(seen) for seen in simulated(slower=0.0, jobs=JOBS, seed=1)]
    assert np.mean([outcome == REGRESSION for outcome, _, _ in ended]) <= 0.01
    assert np.mean([outcome == PASS for outcome, _, _ in ended]) >= 0.95
    assert np.median([count for _, _, count in ended]) < MOST / 2  # it need not spend its budget


@pytest.mark.parametrize("limits", [LIMITS, ("mean < +1%",)])
def test_the_gate_finds_a_stage_that_is_a_tenth_slower_and_blames_it(limits: tuple[str]) -> None:
    ended = [ends_with(seen, *limits) for seen in simulated(slower=0.1, jobs=JOBS // 4, seed=2)]
    assert np.mean([outcome == REGRESSION for outcome, _, _ in ended]) >= 0.95
    assert {stage for outcome, stage, _ in ended if outcome == REGRESSION} == {"decode"}


# Real jobs, whose measurement is made by hand


def stages(*, decode: float = 30.0, seed: int = 1) -> Any:
    """Stages that change by 2 % from block to block, with so long a decode in B."""
    tossed = np.random.default_rng(seed)

    def took(side: str, block: int) -> Stages:
        del block
        factor = float(tossed.uniform(0.98, 1.02))
        changed = STAGES | {"decode": decode} if side == "b" else STAGES
        return {stage: ms * factor for stage, ms in changed.items()}

    return took


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The repositories that jobs were made with, as they were."""
    seen: list[Path] = []

    def experiment(sides: Any, *, into: Path, **others: Any) -> Path:
        del others
        model = sides[1].repository / alarms.MODEL / "1" / "model.py"
        seen.append(model)
        slower = "_slower" in model.read_text()
        folder = into / str(len(seen))
        return write_experiment(
            folder,
            stages(decode=40.0 if slower else 30.0),
            b=sides[1].text,
            settings={"a": {}, "b": {}},
        )

    monkeypatch.setattr("bench.runs.experiments.experiment.experiment", experiment)
    return seen


def invoke(folder: Path, *arguments: object) -> Result:
    words = [
        "selfcheck",
        "alarms",
        "--images",
        "small",
        "--results",
        str(folder),
        *map(str, arguments),
    ]
    return CliRunner().invoke(bench, words, standalone_mode=False, catch_exceptions=False)


def test_each_job_has_a_line_and_the_end_says_how_often_the_gate_was_wrong(
    made: list[Path], tmp_path: Path
) -> None:
    done = invoke(tmp_path, "--same", 2, "--slower", 1)
    assert done.return_value == 0
    head, _, *rows, alarm, found, share = done.stdout.splitlines()
    assert head.split()[:3] == ["job", "decode", "outcome"]
    assert sorted(row.split()[1] for row in rows) == ["+10", "the", "the"]
    (slower,) = (row for row in rows if "+10 %" in row)
    assert "regression" in slower
    assert slower.endswith("decode")
    assert alarm == "false alarms: 0 of 2 jobs without a change; 2 passed"
    assert found == "found: 1 of 1 job with a slower decode, which was blamed in 1"
    assert share == "decode takes 30 % of the latency"
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not [model for model in made if model.exists()]


def test_a_job_that_ends_in_an_error_says_nothing_and_the_others_go_on(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = experiments.experiment

    def experiment(*args: Any, **others: Any) -> Path:
        if not made:
            made.append(tmp_path / "none")
            raise ServerError("Triton has ended", hint="see its log")
        return whole(*args, **others)

    monkeypatch.setattr("bench.runs.experiments.experiment.experiment", experiment)
    done = invoke(tmp_path, "--same", 2, "--slower", 0)
    assert done.return_value == 1
    assert "error: Triton has ended" in done.stderr
    assert "false alarms: 0 of 2 jobs without a change; 1 passed" in done.stdout
    assert "1 job ended in an error and said nothing" in done.stdout


def test_an_absolute_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="'p99 < 5ms' is no change"):
        invoke(tmp_path, "--require", "p99 < 5ms")


def test_a_ctrl_c_leaves_what_is_known(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = experiments.experiment

    def experiment(*args: Any, **others: Any) -> Path:
        if len(made) == 1:
            raise KeyboardInterrupt
        return whole(*args, **others)

    monkeypatch.setattr("bench.runs.experiments.experiment.experiment", experiment)
    done = CliRunner().invoke(
        bench,
        ["selfcheck", "alarms", "--images", "small", "--results", str(tmp_path), "--slower", "0"],
    )
    assert done.exit_code != 0
    assert "false alarms: 0 of 1 job without a change; 1 passed" in done.stdout
