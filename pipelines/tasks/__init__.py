"""What the pipelines compute: a task is one DNN and what its outputs mean, a chain is a task that
finds regions and a second DNN that reads each of them.

Both are described in the model repository (`description`); here is what turns outputs into answers.
What comes in computes on arrays: nothing here knows how a request travels.
"""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import paths
from pipelines.errors import VisiontaxError
from pipelines.tasks.description import FILE, Constant, Description, Tensor, described
from pipelines.tasks.tensors import (
    OF_PIXELS,
    TYPES,
    ModelInput,
    Pixels,
    Tensors,
    TensorSpec,
)

Regions = npt.NDArray[np.float32]
"""[n, k]: a region a row, in pixels of the upright image; a chain's own columns, score last."""

MOST = 1000
"""How many rows are expected where the shape of an output varies."""


@dataclass(frozen=True)
class Dnn:
    """A model of the repository: the input made of an image, its outputs of one image, and what
    else it takes.

    `batch` is how many images it takes at most, 0 where it takes one without being asked; what is
    then `unbatched` has no dimension for it. -1 in an output's shape is a size that varies.
    """

    model: str
    input: ModelInput
    outputs: tuple[TensorSpec, ...]
    batch: int = 8
    constants: tuple[Constant, ...] = ()
    unbatched: frozenset[str] = frozenset()

    @property
    def inputs(self) -> list[TensorSpec]:
        """What it takes for one image, first what is made of that."""
        first = TensorSpec(self.input.name, TYPES[self.input.type], self.input.shape)
        constants = (TensorSpec(one.name, TYPES[one.type], one.shape) for one in self.constants)
        return [first, *constants]

    def feed(self, tensors: npt.NDArray[Any]) -> Tensors:
        """Return all inputs of a batch of images, [n, *input.shape]."""
        given = {
            each.name: np.repeat(each.array()[None], len(tensors), axis=0)
            for each in self.constants
        }
        given[self.input.name] = tensors
        return {name: one[0] if name in self.unbatched else one for name, one in given.items()}

    def asked(self, count: int) -> list[TensorSpec]:
        """Return the outputs of a batch of images, as large as they may be."""
        largest = (
            replace(spec, shape=tuple(MOST if side < 0 else side for side in spec.shape))
            for spec in self.outputs
        )
        return [
            spec if spec.name in self.unbatched else replace(spec, shape=(count, *spec.shape))
            for spec in largest
        ]

    def of_pixels(self) -> "Dnn":
        """Return the DNN that normalizes pixels itself, and is else the same."""
        return replace(self, model=f"{self.model}{OF_PIXELS}", input=self.input.of_pixels())

    def of_one(self, outputs: Tensors, number: int) -> Tensors:
        """Return what the outputs of a batch say of one image."""
        return {
            name: one if name in self.unbatched else one[number] for name, one in outputs.items()
        }


@dataclass(frozen=True)
class Task:
    """One DNN's task.

    `answer` takes the outputs of one image (shapes as in `dnn.outputs`) and the width and height of
    the upright image in pixels. `kind` is one of KINDS.
    """

    name: str
    dnn: Dnn
    answer: Callable[[Tensors, tuple[int, int]], Any]
    kind: str = "tensor"

    def normalized_by(self, who: str) -> "Task":
        """Return the task with the DNN that takes what is normalized by one of NORMALIZES."""
        return replace(self, dnn=self.dnn.of_pixels()) if who == "dnn" else self


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


KINDS = {
    "classification": "pipelines.tasks.classification:top_classes",
    "segmentation": "pipelines.tasks.segmentation:mask",
    "detection": "pipelines.tasks.detection:found",
    "depth": "pipelines.tasks.depth:depth",
    "lines": "pipelines.tasks.lines:lines",
    "tensor": "pipelines.tasks:outputs_of",
}
"""What makes an answer, by the kind of the task: of the outputs of one image, the image's size in
pixels, the DNN, and the options of `[answer]`.
"""

CHAINS = {"faces": "pipelines.tasks.faces", "text": "pipelines.tasks.text"}
"""The module with `cut`, `read` and `value` of each chain."""

SHIPPED = ("classification", "segmentation", "detection", "depth", "faces", "text")
"""The pipelines that visiontax brings along."""


class _Pipelines(Sequence[str]):
    """What a run can ask for: tasks and chains, those that are SHIPPED first."""

    def _names(self) -> list[str]:
        tasks = (each.pipeline for each in _described().values() if not each.only_in_chain)
        found = {*filter(None, tasks), *(each.name for each in chains())}
        return [*(name for name in SHIPPED if name in found), *sorted(found - {*SHIPPED})]

    def __getitem__(self, index: Any) -> Any:
        return self._names()[index]

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())


PIPELINES: Sequence[str] = _Pipelines()


def task(name: str) -> Task:
    """Return the task. Raises VisiontaxError listing the known ones."""
    found = {each.pipeline: model for model, each in _described().items() if each.pipeline}
    if name not in found:
        raise VisiontaxError(f"unknown: {name}", hint=f"known: {', '.join(found)}")
    return _task(found[name])


def chain(name: str) -> Chain:
    """Return the chain. Raises VisiontaxError listing the known ones."""
    found = {each.name: each for each in chains()}
    if name not in found:
        raise VisiontaxError(f"unknown: {name}", hint=f"known: {', '.join(found)}")
    return found[name]


def is_chain(name: str) -> bool:
    """Whether the pipeline is a chain of two DNNs."""
    return any(each.chain == name for each in _described().values())


def first_task(pipeline: str) -> Task:
    """Return the task of a pipeline, of a chain its first."""
    return chain(pipeline).first if is_chain(pipeline) else task(pipeline)


def tasks() -> list[Task]:
    """Return every task, also those that only chains ask for."""
    return [_task(model) for model, each in _described().items() if each.pipeline]


def chains() -> list[Chain]:
    """Return every chain."""
    return [_chain(model) for model, each in _described().items() if each.chain]


def dnns() -> list[Dnn]:
    """Return every DNN that is described."""
    return [dnn_of(model, each) for model, each in _described().items()]


def _described() -> dict[str, Description]:
    return described(paths.REPOSITORY)


def dnn_of(model: str, about: Description) -> Dnn:
    """Return the DNN that is described."""
    given: list[Tensor] = [about.input, *about.outputs, *about.constants]
    return Dnn(
        model,
        about.input.made(),
        tuple(TensorSpec(each.name, TYPES[each.type], each.shape) for each in about.outputs),
        about.batch,
        about.constants,
        frozenset(each.name for each in given if each.unbatched),
    )


def task_of(model: str, about: Description) -> Task:
    """Return the task that is described. Raises VisiontaxError when its answer cannot be made."""
    options = dict(about.answer)
    kind, dnn = str(options.pop("kind")), dnn_of(model, about)
    file = f"{model}/{FILE}"
    if kind not in KINDS:
        raise VisiontaxError(
            f"{file}: unknown kind of task: {kind}", hint=f"known: {', '.join(KINDS)}"
        )
    function = pkgutil.resolve_name(KINDS[kind])
    try:
        inspect.getcallargs(function, {}, (1, 1), dnn=dnn, **options)
    except TypeError as error:
        raise VisiontaxError(f"{file}: an option of [answer]: {error}") from error
    return Task(about.pipeline, dnn, functools.partial(function, dnn=dnn, **options), kind)


@functools.cache
def _task(model: str) -> Task:
    return task_of(model, _described()[model])


@functools.cache
def _chain(model: str) -> Chain:
    about = _described()[model]
    if about.chain not in CHAINS:
        raise VisiontaxError(
            f"{model}/{FILE}: unknown chain: {about.chain}", hint=f"known: {', '.join(CHAINS)}"
        )
    module, second = pkgutil.resolve_name(CHAINS[about.chain]), dnn_of(model, about)
    cut = functools.partial(module.cut, to=second.input)
    return Chain(about.chain, task(about.regions_of), second, cut, module.read, module.value)


def outputs_of(outputs: Tensors, size: tuple[int, int], *, dnn: Dnn) -> Tensors:
    """Return the outputs as they are: the answer of a task whose meaning nobody knows."""
    del size
    return {spec.name: outputs[spec.name] for spec in dnn.outputs}


def forget() -> None:
    """Read the descriptions anew when they are next asked for."""
    for kept in (described, _task, _chain):
        kept.cache_clear()
