"""Inference alone: the DNN of a task, asked with a ready tensor instead of an image."""

from __future__ import annotations

import numpy as np

from pipelines.engines.engine import Engine
from pipelines.tasks import Task
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.steps import batched


class Ready:
    """A task's DNN as one user asks it; its input is noise, as normalized pixels."""

    def __init__(self, engine: Engine, task: Task) -> None:
        self._engine, self._model = engine, task.dnn.model
        shape = (1, 3, task.dnn.input.height, task.dnn.input.width)
        self._inputs = {"input": np.random.default_rng(1).standard_normal(shape, np.float32)}
        self._outputs = batched(task.dnn, 1)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Ask the DNN, whatever the image; there is no answer but the exchange."""
        del image
        outcome = Outcome(None)
        exchange = self._engine.infer(
            self._model, self._inputs, outputs=self._outputs, request_id=request_id
        )
        outcome.add(exchange, id=request_id, where="client")
        return outcome

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
