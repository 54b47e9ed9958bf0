"""Classification: the likeliest classes."""

import numpy as np

from pipelines.tasks import Dnn
from pipelines.tasks.tensors import Tensors

TOP = 5


def top_classes(
    outputs: Tensors, size: tuple[int, int], *, dnn: Dnn, probabilities: bool = False
) -> list[tuple[int, float]]:
    """Return the TOP likeliest (class index, probability) of the first output, a number a class.

    The numbers are logits, of which softmax makes probabilities, unless they are such already.
    """
    del size
    logits = outputs[dnn.outputs[0].name].reshape(-1)
    if not probabilities:
        logits = np.exp(logits.astype(np.float32) - logits.max())
    top = min(TOP, len(logits))
    best = np.argpartition(logits, -top)[-top:]
    best = best[np.argsort(-logits[best])]
    total = 1.0 if probabilities else float(logits.sum())
    return [(int(index), float(logits[index]) / total) for index in best]
