"""What `bench gate` measures: this checkout in one run, or in turns with its baseline."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.commands.sides import check_apart, read
from bench.compare.thresholds import Threshold
from bench.prepare.images.sets import need_images
from bench.record.records import read_manifest
from bench.record.scenario import Settings
from bench.runs.experiments.blocks import timing_of
from bench.runs.experiments.checkouts import here
from bench.runs.experiments.experiment import measure_turns
from bench.runs.experiments.paused_load import DiedError
from bench.runs.experiments.start import equipped
from bench.runs.run import Plan, each_run
from pipelines.errors import VisiontaxError

_NO_OPTION = ("pipeline", "server", "broker", "claims")


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
    pipeline: str, candidate: str, *, seconds: float, into: Path, common: Mapping[str, Any]
) -> Path:
    """Make one run of this checkout and return its folder."""
    side = read("b", candidate, pipeline=pipeline, common=common)
    if side.revision:
        raise click.UsageError("--candidate: a revision is measured against another one only")
    need_images([side.settings.images])
    with equipped([(side, here())]) as (settings,):
        (folder,) = each_run([Plan(settings, duration_s=seconds, results=into)])
    return folder


def measure_against(
    against: str,
    pipeline: str,
    candidate: str,
    *,
    thresholds: Sequence[Threshold],
    slice_s: float,
    budget_s: float,
    into: Path,
    common: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Path:
    """Measure baseline and candidate in turns until it is decided; the experiment's folder.

    Where `against` is a stored run, what its user has not `given` is as that run had it.
    """
    if Path(against).is_dir():
        settings, revision = baseline_of(Path(against), pipeline=pipeline)
        common = {**common, **msgspec.structs.asdict(settings), **given}
        common = {name: value for name, value in common.items() if name not in _NO_OPTION}
        against = f"rev={revision}"
    elif "=" not in against:
        raise click.UsageError(
            f"--against: {against!r} is neither rev=REV, repo=PATH, another key=value, nor a folder"
        )
    a = read("a", against, pipeline=pipeline, common=common)
    b = read("b", candidate, pipeline=pipeline, common=common)
    check_apart(a, b, option="--candidate")
    sides = (a, b if b.text else dataclasses.replace(b, text="this checkout"))
    changes = sum(one.relative for one in thresholds)
    timing = timing_of(slice_s=slice_s, budget=budget_s, questions=changes)
    need_images(side.settings.images for side in sides)
    turns = partial(
        measure_turns, sides, into=into, timing=timing, seed=common["seed"], thresholds=thresholds
    )
    try:
        return turns()
    except DiedError as error:  # Triton may crash, which says nothing of a limit
        click.echo(f"warning: {error}; measuring once more", err=True)
        return turns()
