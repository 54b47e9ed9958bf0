"""The pipeline of one DNN: a task, asked of Triton."""

from __future__ import annotations

from pipelines.engines.engine import Engine
from pipelines.preprocess.offload import on_threads
from pipelines.tasks import Task
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.steps import FirstStage


class Single:
    """A task as one user runs it."""

    def __init__(self, engine: Engine, task: Task, *, way: str, place: str) -> None:
        self._engine = engine
        self._ask = FirstStage(engine, task, way=way, place=place, where="client", run=on_threads)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the task's answer about an image."""
        outcome = Outcome(None)
        outcome.answer = self._ask(image, request_id=request_id, outcome=outcome).answer
        return outcome

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
