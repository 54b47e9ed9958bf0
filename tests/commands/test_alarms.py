"""How often the gate is wrong: simulated jobs by the thousand, and what is said of real ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from experiments import STAGES, Stages, write_experiment
from processes import bench, refused
from simulated import MOST, stages_of, tosses

from bench.commands.options import LIMIT
from bench.commands.selfcheck import alarms
from bench.commands.selfcheck.alarms import LIMITS
from bench.compare import gate, randomization
from bench.compare.gate import NOISY, PASS, REGRESSION, is_decided, relative
from bench.compare.observations import STAGE, Observations
from bench.compare.randomization import Floats, looks
from pipelines.errors import ServerError

JOBS = 500


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
    stages, of_b = stages_of(tosses(jobs, MOST, random), random, slower=slower)
    took = {STAGE + name: slices for name, slices in stages.items()}
    took["mean"] = sum(took.values(), start=np.zeros(of_b.shape))
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
    ended = [ends_with(seen, *limits) for seen in simulated(slower=0.1, jobs=JOBS // 2, seed=2)]
    assert np.mean([outcome == REGRESSION for outcome, _, _ in ended]) >= 0.95
    assert {stage for outcome, stage, _ in ended if outcome == REGRESSION} == {"decode"}


# Real jobs, whose measurement is made by hand


def stages(decode: float) -> Any:
    """Stages that change by 2 % from block to block, with so long a decode in B."""
    tossed = np.random.default_rng(1)

    def took(side: str, _: int) -> Stages:
        factor = float(tossed.uniform(0.98, 1.02))
        changed = STAGES | {"decode": decode} if side == "b" else STAGES
        return {stage: ms * factor for stage, ms in changed.items()}

    return took


@dataclass
class Jobs:
    """The models that they were made with, where they were; which are to end in which error."""

    models: list[Path]
    faults: dict[int, BaseException]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs([], {})

    def experiment(sides: Any, *, into: Path, **_: Any) -> Path:
        number = len(made.models)
        model = sides[1].repository / alarms.MODEL / "1" / "model.py"
        made.models.append(model)
        if number in made.faults:
            raise made.faults[number]
        took = stages(40.0 if "_slower" in model.read_text() else 30.0)
        alike: dict[str, Any] = {"a": {}, "b": {}}
        return write_experiment(into / str(number), took, b=sides[1].text, settings=alike)

    monkeypatch.setattr("bench.runs.experiments.experiment.experiment", experiment)
    return made


ALARMS = ("selfcheck", "alarms", "--images", "small", "--results")


def test_each_job_has_a_line_and_the_end_says_how_often_the_gate_was_wrong(
    jobs: Jobs, tmp_path: Path
) -> None:
    done = bench(*ALARMS, tmp_path, "--same", 2, "--slower", 1)
    assert done.returncode == 0
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
    assert not [model for model in jobs.models if model.exists()]


def test_a_job_that_ends_in_an_error_says_nothing_and_the_others_go_on(
    jobs: Jobs, tmp_path: Path
) -> None:
    jobs.faults[0] = ServerError("Triton has ended", hint="see its log")
    done = bench(*ALARMS, tmp_path, "--same", 2, "--slower", 0)
    assert done.returncode == 1
    assert "error: Triton has ended" in done.stderr
    assert "false alarms: 0 of 2 jobs without a change; 1 passed" in done.stdout
    assert "1 job ended in an error and said nothing" in done.stdout


def test_an_absolute_limit_is_refused(tmp_path: Path) -> None:
    words = "'p99 < 5ms' is no change"
    refused(*ALARMS, tmp_path, "--require", "p99 < 5ms", code=2, words=words)


def test_a_ctrl_c_leaves_what_is_known(jobs: Jobs, tmp_path: Path) -> None:
    jobs.faults[1] = KeyboardInterrupt()
    done = bench(*ALARMS, tmp_path, "--slower", 0)
    assert done.returncode != 0
    assert "false alarms: 0 of 1 job without a change; 1 passed" in done.stdout
