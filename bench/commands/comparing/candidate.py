"""What `bench gate` measures: this checkout in one run, or in turns with its baseline."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.commands.sides import check_apart, read
from bench.compare.thresholds import Threshold
from bench.prepare.images.sets import need_images
from bench.record.manifest import read_manifest
from bench.record.scenario import Settings
from bench.runs.experiments.blocks import timing_of
from bench.runs.experiments.checkouts import here
from bench.runs.experiments.experiment import measure_turns, once_more
from bench.runs.experiments.side import Side
from bench.runs.experiments.start import equipped
from bench.runs.run import Plan, each_run
from pipelines.errors import VisiontaxError


def baseline_of(folder: Path, *, pipeline: str) -> tuple[Settings, str]:
    """Return the settings and the revision of a stored run, which are measured again.

    Raises ResultsError when it is no run that can be read, VisiontaxError when it is of another
    pipeline or of code that no revision holds.
    """
    manifest = read_manifest(folder)
    if manifest.settings.pipeline != pipeline:
        raise VisiontaxError(
            f"{folder} is a run of {manifest.settings.pipeline}, not of {pipeline}",
            hint="choose a baseline of the same pipeline",
        )
    revision = manifest.revision
    if revision is None or revision.endswith("+"):
        state = "with changes that no revision has" if revision else "outside a git checkout"
        raise VisiontaxError(
            f"{folder} was made {state}, so it cannot be measured again",
            hint="make the baseline from a commit, or use --against rev=REV",
        )
    return manifest.settings, revision


def measure(
    context: click.Context,
    pipeline: str,
    *,
    thresholds: Sequence[Threshold],
    against: str | None,
    candidate: str | None,
    slice_s: float,
    budget: float,
    folder: Path,
    **common: Any,
) -> Path:
    """Measure the candidate, in turns until it is decided where it is `against` a baseline.

    Returns the folder of the run or of the experiment. Where the baseline is a stored run, options
    that were not given are as it had them.
    """
    if against and Path(against).is_dir():
        settings, revision = baseline_of(Path(against), pipeline=pipeline)
        for field in common:
            if context.get_parameter_source(field) == ParameterSource.DEFAULT:
                common[field] = getattr(settings, field)
        if settings.named:
            common["server"] = settings.served_by
        against = f"rev={revision}"
    elif against and "=" not in against:
        raise click.UsageError(
            f"--against: {against!r} is neither rev=REV, repo=PATH, another key=value, nor a folder"
        )
    b = read("b", candidate or "", pipeline=pipeline, common=common)
    if against is None:
        return _one_run(b, seconds=budget, into=folder)
    a = read("a", against, pipeline=pipeline, common=common)
    check_apart(a, b, option="--candidate")
    sides = (a, b if b.text else dataclasses.replace(b, text="this checkout"))
    changes = sum(one.relative for one in thresholds)
    timing = timing_of(slice_s=slice_s, budget=budget, questions=changes)
    need_images(side.settings.images for side in sides)
    how = {"into": folder, "timing": timing, "seed": common["seed"], "thresholds": thresholds}
    return once_more(lambda: measure_turns(sides, **how))


def _one_run(side: Side, *, seconds: float, into: Path) -> Path:
    if side.revision:
        raise click.UsageError("--candidate: a revision is measured against another one only")
    need_images([side.settings.images])
    with equipped([(side, here())]) as (settings,):
        (folder,) = each_run([Plan(settings, duration_s=seconds, results=into)])
    return folder
