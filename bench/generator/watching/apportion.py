"""How DALI's one box divides into decode, resize and normalize: graphs cut off after each step run
on the same images, in turn, and the differences of their times are the steps' shares.
"""

import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
from PIL import Image

from bench.prepare.images.sets import images_of
from bench.record.files import write_atomically
from bench.record.records import APPORTION
from bench.record.scenario import mix_of
from pipelines import tasks
from pipelines.errors import ImageError, ServerError
from pipelines.preprocess import dali_graph, formats
from pipelines.processes import Child
from pipelines.tasks.tensors import ModelInput

BUDGET_S = 3.0
IMAGES = 4
LEAST_ROUNDS = 3
TIMEOUT_S = 110.0


def measure(
    images: list[bytes],
    model_input: ModelInput,
    *,
    weights: Sequence[float] = (),
    budget_s: float = BUDGET_S,
) -> dict[str, float]:
    """Return the share of each step, in 0..1 and summing to 1, over the images; with weights each
    counts as much as its own.

    A step's time is the median over rounds of what its graph takes more than the one before it.
    What normalize takes does not depend on the image, so it is measured on thumbnails, where it is
    not lost in the noise of decoding.
    """
    thumbnails = [thumbnail(image, model_input) for image in images]
    graphs = [dali_graph.build(model_input, outputs=(step,)) for step in dali_graph.STEPS]
    rounds: list[list[float]] = []
    weights = weights or [1.0] * len(images)
    deadline = time.monotonic() + budget_s
    while time.monotonic() < deadline or len(rounds) < LEAST_ROUNDS:
        decode, resize, _ = _seconds(graphs, images, weights)
        _, least, whole = _seconds(graphs, thumbnails, weights)
        rounds.append([decode, resize - decode, whole - least])
    steps = np.maximum(np.median(rounds, axis=0), 0.0)
    return dict(zip(dali_graph.STEPS, (steps / steps.sum()).tolist(), strict=True))


def _seconds(
    graphs: list[dali_graph.Graph], images: list[bytes], weights: Sequence[float]
) -> list[float]:
    """Return how long each graph takes for all the images, one graph after the other on each."""
    spent = [0.0] * len(graphs)
    for image, weight in zip(images, weights, strict=True):
        for number, graph in enumerate(graphs):
            start = time.perf_counter()
            graph.execute([image])
            spent[number] += weight * (time.perf_counter() - start)
    return spent


def thumbnail(image: bytes, model_input: ModelInput) -> bytes:
    """Return the JPEG at the size of the model's input."""
    small = io.BytesIO()
    size = (model_input.width, model_input.height)
    Image.open(io.BytesIO(image)).convert("RGB").resize(size).save(small, "JPEG")
    return small.getvalue()


def decodable(paths: list[Path], model_input: ModelInput) -> list[bytes]:
    """Return the first IMAGES of the images that DALI can decode."""
    graph = dali_graph.build(model_input, outputs=("decode",))
    good: list[bytes] = []
    for path in paths:
        try:
            data = formats.admitted(path.read_bytes()).data
            graph.execute([data])
        except ImageError:
            continue
        good.append(data)
        if len(good) == IMAGES:
            break
    return good


def start(folder: Path, *, images: str, pipeline: str) -> None:
    """Measure in a process of its own, which takes DALI's memory and threads with it.

    Raises ServerError when that fails.
    """
    command = [sys.executable, "-m", "bench.generator.watching.apportion", str(folder)]
    command += ["--images", images, "--pipeline", pipeline]
    with Child("the measurement of DALI's steps", command) as child:
        child.wait(TIMEOUT_S)
    if child.process.returncode:
        raise ServerError(f"{child.name} ended with code {child.process.returncode}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--images", required=True)
@click.option("--pipeline", required=True)
def command(folder: Path, images: str, pipeline: str) -> None:
    """Write the shares for one run; none when no image can be decoded."""
    model_input = tasks.first_task(pipeline).dnn.input
    good: list[bytes] = []
    weights: list[float] = []
    for name, weight in (mix_of(images) or {images: 1.0}).items():
        found = decodable(images_of(name).paths, model_input)
        good += found
        weights += [weight / max(1, len(found))] * len(found)
    if good:
        shares = measure(good, model_input, weights=weights)
        write_atomically(folder / APPORTION, msgspec.json.encode(shares) + b"\n")


if __name__ == "__main__":
    command()
