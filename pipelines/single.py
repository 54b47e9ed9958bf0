"""The pipeline of one DNN: a task, asked of Triton."""

from __future__ import annotations

from pipelines.asking import FirstStage
from pipelines.engine import Engine
from pipelines.offload import on_threads
from pipelines.outcome import Outcome
from pipelines.tasks import Task


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
