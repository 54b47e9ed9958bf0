"""Classification: the five likeliest of ImageNet's thousand classes."""

import numpy as np

from pipelines.tasks import Dnn, Task
from pipelines.tasks.tensors import ModelInput, Tensors, TensorSpec

TOP = 5


def top_classes(outputs: Tensors, size: tuple[int, int]) -> list[tuple[int, float]]:
    """Return the TOP likeliest (class index, softmax probability) of `logits`, [1000]."""
    del size
    logits = outputs["logits"]
    exponents = np.exp(logits - logits.max())
    best = np.argpartition(logits, -TOP)[-TOP:]
    best = best[np.argsort(-logits[best])]
    total = float(exponents.sum())
    return [(int(index), float(exponents[index]) / total) for index in best]


TASK = Task(
    "classification",
    Dnn(
        "mobilenetv2",
        ModelInput(224, 224, "centre"),
        (TensorSpec("logits", np.float32, (1000,)),),
    ),
    top_classes,
)
