"""How DALI's one box divides into decode, resize and normalize: graphs cut off after each step run
on the same images, in turn, and the differences of their times are the steps' shares.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec
import numpy as np

from bench.images import images_of
from bench.results import APPORTION, write_atomically
from pipelines import dali_graph, jpeg
from pipelines.errors import ImageError

BUDGET_S = 2.0
LEAST_ROUNDS = 3


def measure(images: list[bytes], *, budget_s: float = BUDGET_S) -> dict[str, float]:
    """Return the share of each step, in 0..1 and summing to 1, over the images.

    A step's time is the difference of the medians, over rounds, of two graphs' mean times.
    """
    graphs = [dali_graph.build(batch_size=1, threads=1, upto=step) for step in dali_graph.STEPS]
    rounds: list[list[float]] = []
    deadline = time.monotonic() + budget_s
    for image in itertools.cycle(images):
        times = []
        for graph in graphs:
            start = time.perf_counter()
            dali_graph.execute(graph, [image])
            times.append(time.perf_counter() - start)
        rounds.append(times)
        if time.monotonic() > deadline and len(rounds) >= LEAST_ROUNDS:
            break
    until = np.median(np.array(rounds[1:]), axis=0)
    steps = np.maximum(np.diff(until, prepend=0.0), 0.0)
    return dict(zip(dali_graph.STEPS, (steps / steps.sum()).tolist(), strict=True))


def decodable(paths: list[Path]) -> list[bytes]:
    """Return the images that pass the check every way makes first."""
    good = []
    for path in paths:
        data = path.read_bytes()
        try:
            jpeg.check(data)
        except ImageError:
            continue
        good.append(data)
    return good


def start(folder: Path, *, images: str) -> None:
    """Measure in a process of its own, which takes DALI's memory and threads with it."""
    command = [sys.executable, "-m", "bench.apportion", str(folder), "--images", images]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--images", required=True)
def command(folder: Path, images: str) -> None:
    """Write the shares for one run; none when no image can be decoded."""
    good = decodable(images_of(images).paths)
    if good:
        write_atomically(folder / APPORTION, msgspec.json.encode(measure(good)) + b"\n")


if __name__ == "__main__":
    command()
