"""Every pipeline that a run can ask for, made by name."""

from pipelines import tasks
from pipelines.engines.choose import engine
from pipelines.engines.serving import TITLES
from pipelines.tasks import served
from pipelines.topologies.asking import Direct, Fused, Preprocessing, Ready, Single
from pipelines.topologies.names import FUSED, NOBODY
from pipelines.topologies.outcome import Pipeline
from pipelines.topologies.scenario import Setup


def pipeline(setup: Setup) -> Pipeline:
    """Return the pipeline as one user runs it. Raises VisiontaxError as `check` does."""
    setup.check()
    setup.check_broker()
    if setup.brokered:
        from pipelines.topologies.brokered.client import Brokered

        return Brokered(setup)
    lone = Ready if setup.alone else Preprocessing if setup.only else Single
    chained: dict[str, type[Fused] | type[Direct]] = {FUSED: Fused, "direct": Direct}
    kind = chained[str(setup.topology)] if tasks.is_chain(setup.pipeline) else lone
    server = TITLES[setup.served_by] if setup.named else ""
    asked = engine(
        setup.transport,
        setup.asked_at,
        service_s=setup.service_s,
        service_times=setup.service_times,
        server=server,
    )
    return kind(asked, setup)


def models(*setups: Setup) -> list[str]:
    """Return the models of the repository that are asked; an ensemble brings its parts along."""
    return list(dict.fromkeys(model for setup in setups for model in _models(setup)))


def _models(setup: Setup) -> list[str]:
    first, chain, way = setup.task, tasks.is_chain(setup.pipeline), setup.preprocess
    names = {"place": setup.place, "normalize": setup.normalize}
    if setup.only and setup.place != "client":
        return [served.preprocessing(first.name, way, **names)]
    if setup.topology == FUSED and not chain:
        return [served.fused(first.name, way, normalize=setup.normalize)]
    asked = [first.dnn.model]
    if setup.topology == FUSED:
        asked.append(f"{setup.pipeline}_{way}")
    elif setup.place not in ("client", NOBODY):
        asked.append(served.ensemble(first.name, way, **names))
    if chain:
        asked.append(tasks.chain(setup.pipeline).second.model)
    return asked


def stages(*setups: Setup) -> dict[str, str]:
    """Return the stage of the time that each model of the pipelines computes, at whatever place."""
    return {model: stage for setup in setups for model, stage in _stages(setup).items()}


def _stages(setup: Setup) -> dict[str, str]:
    pipeline, preprocess, normalize = setup.pipeline, setup.preprocess, setup.normalize
    first = setup.task
    if setup.topology == FUSED and not tasks.is_chain(pipeline):
        return {served.fused(first.name, preprocess, normalize=normalize): "inference"}
    places = ("server", "server-gpu") if preprocess == "dali" else ("server",)
    named = {first.dnn.model: "inference"}
    for place in places:
        name = served.preprocessing(first.name, preprocess, place=place, normalize=normalize)
        named[name] = "preprocess"
    if tasks.is_chain(pipeline):
        named[tasks.chain(pipeline).second.model] = "inference"
        named[f"{pipeline}_{preprocess}"] = "preprocess"  # its own spans say more than the box
    return named
