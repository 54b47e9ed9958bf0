"""Every pipeline that a run can ask for, made by name."""

from __future__ import annotations

from pipelines import tasks
from pipelines.brokers import BROKERS
from pipelines.engines.choose import engine
from pipelines.engines.engine import Engine
from pipelines.preprocess.offload import on_threads
from pipelines.tasks import served
from pipelines.topologies.outcome import Pipeline
from pipelines.topologies.scenario import NOBODY, Setup


def pipeline(setup: Setup) -> Pipeline:
    """Return the pipeline as one user runs it. Raises VisiontaxError as `check` does."""
    setup.check()
    setup.check_broker()
    if not tasks.is_chain(setup.pipeline):
        return _single(setup)
    chain = tasks.chain(setup.pipeline)
    if setup.topology in BROKERS:
        from pipelines.topologies.brokered.client import Brokered

        return Brokered(chain, kind=str(setup.topology), url=str(setup.broker))
    asked = _engine(setup)
    if setup.topology == "fused":
        from pipelines.topologies.fused import Fused

        return Fused(asked, chain, way=setup.preprocess)
    from pipelines.topologies.direct import Direct

    return Direct(
        asked, chain, way=setup.preprocess, place=setup.place, where="client", run=on_threads
    )


def _single(setup: Setup) -> Pipeline:
    task = tasks.task(setup.pipeline)
    if setup.alone:
        from pipelines.topologies.ready import Ready

        return Ready(_engine(setup), task)
    from pipelines.topologies.single import Single

    return Single(_engine(setup), task, way=setup.preprocess, place=setup.place)


def _engine(setup: Setup) -> Engine:
    return engine(setup.transport, setup.asked_at, service_s=setup.service_s)


def models(setup: Setup) -> list[str]:
    """Return the models of the repository that are asked; an ensemble brings its parts along."""
    first = tasks.first_task(setup.pipeline)
    asked = [first.dnn.model]
    if setup.topology == "fused":
        asked.append(f"{setup.pipeline}_{setup.preprocess}")
    elif setup.place not in ("client", NOBODY):
        asked.append(served.ensemble(first.name, setup.preprocess, place=setup.place))
    if tasks.is_chain(setup.pipeline):
        asked.append(tasks.chain(setup.pipeline).second.model)
    return asked


def stages(setup: Setup) -> dict[str, str]:
    """Return the stage of the time that each model of a pipeline computes, at whatever place."""
    pipeline, way = setup.pipeline, setup.preprocess
    first = tasks.first_task(pipeline)
    named = {served.preprocessing(first.name, way): "preprocess", first.dnn.model: "inference"}
    if way == "dali":
        named[served.preprocessing(first.name, way, place="server-gpu")] = "preprocess"
    if tasks.is_chain(pipeline):
        named[tasks.chain(pipeline).second.model] = "inference"
        named[f"{pipeline}_{way}"] = "preprocess"  # its own spans say more than the box
    return named
