"""What the pipelines compute: a task is one DNN and what its outputs mean, a chain is a task that
finds regions and a second DNN that reads each of them.

What comes in computes on arrays: nothing here knows how a request travels.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import VisiontaxError
from pipelines.tasks.tensors import ModelInput, Pixels, Tensors, TensorSpec

Regions = npt.NDArray[np.float32]
"""[n, k]: a region a row, in pixels of the upright image; a chain's own columns, score last."""


@dataclass(frozen=True)
class Dnn:
    """A model of the repository, its input (named `input`) and its outputs without the batch."""

    model: str
    input: ModelInput
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Task:
    """One DNN's task.

    `answer` takes the outputs of one image (shapes as in `dnn.outputs`) and the width and height of
    the upright image in pixels.
    """

    name: str
    dnn: Dnn
    answer: Callable[[Tensors, tuple[int, int]], Any]


@dataclass(frozen=True)
class Chain:
    """A task whose answer is Regions, and a DNN that reads each region.

    `cut`: the region's pixels, in the size of the second DNN's input.
    `read`: the answer as bytes, from the second DNN's outputs of one crop.
    `value`: what those bytes mean.
    """

    name: str
    first: Task
    second: Dnn
    cut: Callable[[Pixels, npt.NDArray[np.float32]], Pixels]
    read: Callable[[Tensors], bytes]
    value: Callable[[bytes], Any]


@dataclass(frozen=True)
class Readings:
    """A chain's answer: the regions, and the second DNN's packed answer about each."""

    chain: Chain
    regions: Regions
    answers: Sequence[bytes]

    @property
    def values(self) -> list[Any]:
        """What the answers mean."""
        return [self.chain.value(answer) for answer in self.answers]


_TASKS = ("classification", "segmentation", "detection", "depth", "lines")
_CHAINS = ("faces", "text")

PIPELINES = ("classification", "segmentation", "detection", "depth", "faces", "text")
"""What a run can ask for: tasks and chains. `lines` is only the first part of `text`."""


def task(name: str) -> Task:
    """Return the task. Raises VisiontaxError listing the known ones."""
    found: Task = _find(name, known=_TASKS, attribute="TASK")
    return found


def chain(name: str) -> Chain:
    """Return the chain. Raises VisiontaxError listing the known ones."""
    found: Chain = _find(name, known=_CHAINS, attribute="CHAIN")
    return found


def is_chain(name: str) -> bool:
    """Whether the pipeline is a chain of two DNNs."""
    return name in _CHAINS


def first_task(pipeline: str) -> Task:
    """Return the task of a pipeline, of a chain its first."""
    return chain(pipeline).first if is_chain(pipeline) else task(pipeline)


def tasks() -> list[Task]:
    """Return every task."""
    return [task(name) for name in _TASKS]


def chains() -> list[Chain]:
    """Return every chain."""
    return [chain(name) for name in _CHAINS]


def _find(name: str, *, known: tuple[str, ...], attribute: str) -> Any:
    if name not in known:
        raise VisiontaxError(f"unknown: {name}", hint=f"known: {', '.join(known)}")
    return getattr(importlib.import_module(f"pipelines.tasks.{name}"), attribute)
