"""A chain whose caller asks both DNNs itself."""

from __future__ import annotations

from pipelines.engines.engine import Engine
from pipelines.preprocess.offload import Run, at_once
from pipelines.tasks import Chain, Readings
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.steps import FirstStage, SecondStage, cut


class Direct:
    """The topology `direct`. `where` names this process in the spans."""

    def __init__(
        self,
        engine: Engine,
        chain: Chain,
        *,
        way: str,
        place: str,
        where: str,
        run: Run = at_once,
    ) -> None:
        self._engine, self._chain, self._way, self._where = engine, chain, way, where
        self._run = run
        self._first = FirstStage(engine, chain.first, way=way, place=place, where=where, run=run)
        self._second = SecondStage(engine, chain, where=where)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the Readings of an image's regions."""
        outcome = Outcome(None)
        found = self._first(image, request_id=request_id, outcome=outcome, keep_pixels=True)
        way, where = self._way, self._where
        (crops, spans), waits = self._run(
            cut, self._chain, found.answer, image, found.pixels, way, where
        )
        outcome.spans += [*waits, *spans]
        answers = self._second(crops, request_id=request_id, outcome=outcome)
        outcome.answer = Readings(self._chain, found.answer, answers)
        return outcome

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
