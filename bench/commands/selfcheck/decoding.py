"""`bench selfcheck decoding`: what a scaled decode saves, and whether the answers stay the same.

All is computed here and on one thread, each image in full and scaled right after each other.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from bench.commands.options import Several
from bench.compare.agreement import AGREEMENT, WHAT
from bench.ledger.units import number
from bench.predict.held import SURE_Z, part
from bench.prepare.images.sets import COUNT, SETS, build_images, images_of, need_images
from bench.record.files import as_json
from bench.report.document import terminal
from bench.report.document.text import text_table
from pipelines import paths, tasks
from pipelines.engines.engine import Exchange, Parameters
from pipelines.engines.local import LocalEngine
from pipelines.preprocess import formats
from pipelines.preprocess.choose import DECODE, DECODES, FULL, SCALING
from pipelines.preprocess.ways import divisor, lacks, own
from pipelines.tasks.served import ensemble
from pipelines.tasks.tensors import Tensors, TensorSpec
from pipelines.topologies.asking import Direct, Single
from pipelines.topologies.names import DEFAULT_TOPOLOGY
from pipelines.topologies.scenario import Setup

HEADS = ("images", "pipeline", "way", "decode", "n", "1/", "ms", "faster", "agree", "(95 %)")
OTHER = {"opencv": "pillow", "pillow": "opencv", "simplejpeg": "pillow"}
"""Another way to compare each with, for a measure of how much such differences matter at all."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of `images`, `count` of them, by one way, with that much decoded.

    `divisor`: by how much width and height of the median image were divided. `ms`: the median of
    decode, resize and normalize together, and that of the full ones, `full_ms`. `agreement` with
    full decoding, and where that is what was measured with that by `OTHER`: the mean over the
    images, `low` to `high` by 95 %.
    """

    images: str
    pipeline: str
    preprocess: str
    decode: str
    count: int
    divisor: int
    ms: float
    full_ms: float
    agreement: float
    low: float
    high: float


class Here(LocalEngine):
    """What Triton would answer, computed by the caller: the ensemble of one way, and any DNN."""

    def __init__(self, task: tasks.Task, preprocess: str) -> None:
        super().__init__("")
        self._dnn, self._way = task.dnn, preprocess
        self._ensemble = ensemble(task.name, preprocess)

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Return the outputs; those of the ensemble with the spans of preprocessing."""
        if model != self._ensemble:
            return super().infer(model, inputs, outputs=outputs, request_id=request_id)
        decode = (parameters or {}).get(DECODE, FULL)
        made = own(self._way, self._dnn.input, decode=decode)(inputs["jpeg"].tobytes())
        fed, asked = self._dnn.feed(made.tensor[None]), self._dnn.asked(1)
        found = super().infer(self._dnn.model, fed, outputs=asked, request_id=request_id)
        size = {"size": np.array([made.size[::-1]], np.int64)}
        return replace(found, outputs=found.outputs | size, spans=made.spans)


def asked(pipeline: str, preprocess: str, decode: str) -> Any:
    """Return the pipeline as a user of a server has it, computed here."""
    chain = tasks.is_chain(pipeline)
    setup = Setup(
        pipeline=pipeline,
        preprocess=preprocess,
        decode=decode,
        topology=DEFAULT_TOPOLOGY if chain else None,
    )
    setup.check()
    here = Here(tasks.first_task(pipeline), preprocess)
    return (Direct if chain else Single)(here, setup)


def measure(pipeline: str, preprocess: str, files: Sequence[Path], *, images: str) -> Iterator[Row]:
    """Yield what each of the DECODES comes to by that way on these images."""
    asks = {decode: asked(pipeline, preprocess, decode) for decode in DECODES}
    other = asked(pipeline, OTHER[preprocess], FULL)
    took: dict[str, list[float]] = {decode: [] for decode in DECODES}
    agree: dict[str, list[float]] = {decode: [] for decode in DECODES}
    for turn, file in enumerate(files):
        data, answers = file.read_bytes(), {}
        for decode in list(DECODES)[:: 1 if turn % 2 else -1]:  # none is always the first
            outcome = asks[decode](data, request_id="")
            answers[decode] = outcome.answer
            spans = [one for one in outcome.spans if one.where == preprocess]
            took[decode].append(sum(one.end_ns - one.start_ns for one in spans) / 1e6)
        compared = answers | {FULL: other(data, request_id="").answer}
        for decode, answer in compared.items():
            agree[decode].append(AGREEMENT[pipeline](answers[FULL], answer))
    for decode in DECODES:
        _, low, high = part(np.array(agree[decode]), sure_z=SURE_Z)
        yield Row(
            images=images,
            pipeline=pipeline,
            preprocess=preprocess,
            decode=decode,
            count=len(files),
            divisor=_divided(pipeline, files, decode),
            ms=statistics.median(took[decode]),
            full_ms=statistics.median(took[FULL]),
            agreement=statistics.fmean(agree[decode]),
            low=low,
            high=high,
        )


def _divided(pipeline: str, files: Sequence[Path], decode: str) -> int:
    """By how much width and height of the median image are divided."""
    place, found = tasks.first_task(pipeline).dnn.input.place, []
    for picture in (formats.admitted(file.read_bytes()) for file in files):
        sides = place(*picture.upright)
        is_jpeg = picture.format == formats.JPEG
        found.append(divisor(sides, shrinks=DECODES[decode]) if is_jpeg else 1)
    return statistics.median_low(found)


def cells(row: Row) -> list[str]:
    """Return a row as cells under HEADS."""
    against = f" {OTHER[row.preprocess]}" if row.decode == FULL else f" {FULL}"
    return [
        *(row.images, row.pipeline, row.preprocess, row.decode, str(row.count), str(row.divisor)),
        *(number(row.ms), f"{row.full_ms / row.ms:.2f}"),
        f"{row.agreement:.3f}{against}",
        f"{row.low:.3f} to {row.high:.3f}",
    ]


def _files(images: str, count: int) -> list[Path]:
    """The first so many images of a set, which has more built elsewhere where it needs; all of a
    folder.
    """
    if images not in SETS:
        return images_of(images).paths
    if count <= COUNT:
        need_images([images])
        return images_of(images).paths[:count]
    (folder,) = build_images(paths.BUILD / f"images-{count}", count=count, sets=[images])
    return images_of(str(folder)).paths


def rows(
    pipelines: Sequence[str], sets: Sequence[str], ways: Sequence[str], *, count: int
) -> Iterator[Row]:
    """Yield what comes out of each combination, but for ways that lack a set's format."""
    for images in sets:
        files = _files(images, count)
        kind = formats.admitted(files[0].read_bytes()).format
        for pipeline, way in itertools.product(pipelines, ways):
            if kind not in lacks(way):
                yield from measure(pipeline, way, files, images=images)


@click.command()
@click.option(
    "--pipelines",
    type=Several(list(AGREEMENT)),
    default="classification",
    help=f"NAMES of {', '.join(AGREEMENT)}.",
)
@click.option(
    "--images", "sets", type=Several(None), default="large,phone", help="NAMES of sets, or folders."
)
@click.option(
    "--preprocess",
    "ways",
    type=Several(SCALING),
    default=",".join(SCALING),
    help=f"NAMES of {', '.join(SCALING)}.",
)
@click.option("--count", type=click.IntRange(1), default=COUNT, help="Images of each set.")
@click.option(
    "--format", type=click.Choice(["text", "json"]), default="text", help="How it is printed."
)
def command(
    pipelines: Sequence[str], sets: Sequence[str], ways: Sequence[str], count: int, format: str
) -> int:
    """Compare scaled decoding with full: its time, and its answers."""
    found = list(rows(pipelines, sets, ways, count=count))
    if format == "json":
        click.echo(as_json(found).decode())
        return 0
    terminal.show("\n".join(text_table(HEADS, [cells(row) for row in found], texts=4)))
    for pipeline in pipelines:
        click.echo(f"agree, of {pipeline}: {WHAT[pipeline]}")
    click.echo("ms: median of decode, resize and normalize; agree: with what stands beside it")
    return 0
