"""`bench selfcheck alarms`: how often the gate is wrong, by jobs without a change and with one.

The candidate is a copy of the model repository. In the jobs with a change its OpenCV decodes
slower: it goes on computing after each image, for a part of the time that took.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from bench.commands.options import LIMIT, results_option
from bench.commands.sides import COMMON, read
from bench.compare.gate import PASS, REGRESSION, Gate, of_turns
from bench.compare.observations import STAGE
from bench.compare.stored import Experimented
from bench.compare.thresholds import Threshold
from bench.ledger.units import ABSENT, count, duration
from bench.prepare.images.sets import need_images
from bench.report.comparison import within
from bench.report.document import terminal
from bench.report.document.text import text_table
from bench.runs.experiments.blocks import Timing, timing_of
from bench.runs.experiments.experiment import measure_turns
from bench.runs.experiments.side import Side
from pipelines import paths
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import DURATION

PIPELINE, MODEL, SLOWED = "classification", "preprocess_classification_opencv", "decode"
MODEL_FILE = """
import time

from pipelines.preprocess.opencv import OpenCV
from pipelines.triton_models.preprocess import TritonPythonModel

_decode = OpenCV.decode


def _slower(self, picture, **how):
    start = time.monotonic_ns()
    image = _decode(self, picture, **how)
    end = time.monotonic_ns()
    end += round((end - start) * {part})
    while time.monotonic_ns() < end:
        pass
    return image


OpenCV.decode = _slower
"""
"""Of the copy, whose decode takes longer by that part."""

LIMITS = ("mean < +5%", "stage.decode < +5%")
HEADS = (
    *("job", "decode  ", "outcome   ", f"{'B/A of the mean':22}", "blocks"),
    *(f"{'took':>12}", "blamed"),
)


@dataclass(frozen=True)
class Job:
    """What the gate made of one job, whose candidate was slower or not.

    `share` is what decode takes of A's latency. `gate` is None of a job that ended in an error.
    """

    slower: bool
    took_s: float
    gate: Gate | None = None
    share: float = 0.0


def copy_repository(folder: Path, *, slower: float) -> Path:
    """Copy the model repository to `folder`, and return it; decode is slower by that part."""
    shutil.copytree(paths.REPOSITORY, folder)
    if slower:
        code = MODEL_FILE.replace("{part}", str(slower))
        (folder / MODEL / "1" / "model.py").write_text(code)
    return folder


def judge(
    sides: Sequence[Side], *, into: Path, timing: Timing, seed: int, limits: Sequence[Threshold]
) -> tuple[Gate, float]:
    """Make one job as `bench gate` would; return what it decides, and decode's share in A.

    Raises VisiontaxError as an experiment does, KeyboardInterrupt after a Ctrl-C.
    """
    folder = measure_turns(sides, thresholds=limits, into=into, timing=timing, seed=seed)
    stored = Experimented.read(folder)
    a = stored.seen.a
    share = np.nanmean(a[STAGE + SLOWED]) / np.nanmean(a["mean"])
    return of_turns(stored, limits), float(share)


def row(number: int, job: Job, *, slower: float) -> list[str]:
    """Return a job as cells under HEADS."""
    mean, blocks = ABSENT, 0
    if job.gate and job.gate.comparison:
        found = next(one for one in job.gate.comparison.rows if one.metric == "mean")
        if found.ratio is not None and found.low is not None and found.high is not None:
            mean = within(found.ratio, found.low, found.high)
        blocks = job.gate.comparison.observations[0]
    return [
        str(number),
        f"{100 * slower:+g} %" if job.slower else "the same",
        job.gate.outcome if job.gate else "error",
        mean,
        str(blocks),
        duration(job.took_s),
        (job.gate.blamed if job.gate else None) or "",
    ]


def conclusion(jobs: Sequence[Job]) -> list[str]:
    """Return how often the gate was wrong, a sentence each."""
    same, slower = ([job for job in jobs if job.slower == kind] for kind in (False, True))
    alarms = sum(_outcome(job) == REGRESSION for job in same)
    passed = sum(_outcome(job) == PASS for job in same)
    found = [job for job in slower if _outcome(job) == REGRESSION]
    blamed = sum(job.gate is not None and job.gate.blamed == SLOWED for job in found)
    shares = [job.share for job in jobs if job.gate]
    told = [
        f"false alarms: {alarms} of {count(len(same), 'job')} without a change; {passed} passed",
        f"found: {len(found)} of {count(len(slower), 'job')} with a slower {SLOWED}, "
        f"which was blamed in {blamed}",
    ]
    if shares:
        told.append(f"{SLOWED} takes {100 * float(np.median(shares)):.0f} % of the latency")
    if lost := sum(job.gate is None for job in jobs):
        told.append(f"{count(lost, 'job')} ended in an error and said nothing")
    return told


def _outcome(job: Job) -> str:
    return job.gate.outcome if job.gate else ""


@click.command()
@click.option("--same", type=click.IntRange(0), default=20, help="Jobs without a change.")
@click.option("--slower", type=click.IntRange(0), default=5, help="Jobs with a slower decode.")
@click.option("--by", type=click.FloatRange(0, 1000), default=10.0, help="How much slower, in %.")
@click.option("--images", default="faces-4", help="An image set, or a folder of images.")
@click.option("--users", type=click.IntRange(1), default=1, help="Concurrent users.")
@click.option(
    "--require", type=LIMIT, multiple=True, help=f"As in bench gate.  [{', '.join(LIMITS)}]"
)
@click.option("--budget", type=DURATION, default="10m", help="How long each job may measure.")
@click.option("--seed", type=int, default=1, help="Of the jobs' order, and of their blocks.")
@results_option
def command(
    same: int,
    slower: int,
    by: float,
    images: str,
    users: int,
    require: tuple[Threshold, ...],
    budget: float,
    seed: int,
    folder: Path,
) -> int:
    """Make real jobs of the gate, without a change and with a slower decode, in random order."""
    limits = require or [LIMIT.convert(text, None, None) for text in LIMITS]
    for one in limits:
        if not one.relative:
            raise click.UsageError(f"--require: {one.text!r} is no change, such as 'mean < +5%'")
    timing = timing_of(slice_s=1.0, budget=budget, questions=len(limits))
    given = ["--images", images, "--users", str(users)]
    common = click.Command("sides", params=list(COMMON)).make_context("sides", given).params
    need_images([images])
    kinds = [False] * same + [True] * slower
    random.Random(f"{seed}/alarms").shuffle(kinds)
    jobs: list[Job] = []
    terminal.show("\n".join(text_table(HEADS, [], texts=4)))
    with tempfile.TemporaryDirectory() as made:
        repositories = {
            kind: copy_repository(Path(made) / title, slower=by / 100 * kind)
            for kind, title in ((False, "same"), (True, "slower"))
        }
        try:
            for number, kind in enumerate(kinds, start=1):
                a = read("a", "", pipeline=PIPELINE, common=common)
                b = read("b", f"repo={repositories[kind]}", pipeline=PIPELINE, common=common)
                began = time.monotonic()
                gate, share = None, 0.0
                try:
                    gate, share = judge(
                        (a, b), into=folder, timing=timing, seed=seed + number, limits=limits
                    )
                except VisiontaxError as error:
                    click.echo(f"error: {error}", err=True)
                jobs.append(Job(kind, time.monotonic() - began, gate, share))
                cells = row(number, jobs[-1], slower=by / 100)
                terminal.show(text_table(HEADS, [cells], texts=4)[-1])
        finally:
            for sentence in conclusion(jobs):
                click.echo(sentence)
    return int(any(job.gate is None for job in jobs))
