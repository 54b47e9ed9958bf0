"""Answers as bytes: decoded they are what they were, and they are few."""

import numpy as np
import pytest

from pipelines import tasks
from pipelines.tasks import Dnn, Task, encoded, outputs_of
from pipelines.tasks.segmentation import mask
from pipelines.tasks.tensors import ModelInput, Tensors, TensorSpec

SIZE = (300, 200)
random = np.random.default_rng(1)


def spots(*shape: int) -> np.ndarray:
    """A map of smooth spots, as DNNs give them, between 0 and 1."""
    y, x = np.mgrid[: shape[-2], : shape[-1]] / 20
    return np.broadcast_to((np.sin(x) * np.cos(y) + 1) / 2, shape).astype(np.float32)


def outputs(task: Task) -> Tensors:
    """What the task's DNN might say of an image."""
    return {spec.name: spots(*spec.shape) for spec in task.dnn.outputs if len(spec.shape) > 1} | {
        spec.name: random.normal(size=spec.shape).astype(np.float32)
        for spec in task.dnn.outputs
        if len(spec.shape) == 1
    }


@pytest.mark.parametrize("name", [task.name for task in tasks.tasks()])
def test_an_answer_is_what_it_was(name: str) -> None:
    task = tasks.task(name)
    given = outputs(task)
    answer, data = task.answer(given, SIZE), encoded.encode(task, given, SIZE)
    found = encoded.decode(task, data)
    if isinstance(answer, list):
        assert found == answer
        return
    assert (found.dtype, found.shape) == (answer.dtype, answer.shape)
    steps = np.ptp(answer) / 65535 if task.kind == "depth" else 0.0
    np.testing.assert_allclose(found, answer, atol=1.01 * steps)
    assert data.nbytes < sum(each.nbytes for each in given.values())


def test_a_mask_of_classes_is_what_it_was() -> None:
    dnn = Dnn("any", ModelInput(20, 20, "stretch"), (TensorSpec("classes", np.float32, (7, 9, 9)),))
    task = Task("any", dnn, lambda given, size: mask(given, size, dnn=dnn), "segmentation")
    given = {"classes": random.normal(size=(7, 9, 9)).astype(np.float32)}
    found = encoded.decode(task, encoded.encode(task, given, SIZE))
    np.testing.assert_array_equal(found, task.answer(given, SIZE))
    assert len(np.unique(found)) == 7


def test_tensors_that_nobody_knows_are_what_they_were() -> None:
    specs = (TensorSpec("a", np.float16, (2, 3)), TensorSpec("b", np.int64, (0,)))
    dnn = Dnn("any", ModelInput(20, 20, "stretch"), specs)
    task = Task("any", dnn, lambda given, size: outputs_of(given, size, dnn=dnn))
    given = {spec.name: np.ones(spec.shape, spec.dtype) for spec in specs}
    found = encoded.decode(task, encoded.encode(task, given, SIZE))
    assert {name: one.dtype for name, one in found.items()} == {"a": np.float16, "b": np.int64}
    for name, one in found.items():
        np.testing.assert_array_equal(one, given[name])


def test_zeros_are_no_answer() -> None:
    assert encoded.decode(tasks.task("classification"), np.zeros(10, np.uint8)) is None
