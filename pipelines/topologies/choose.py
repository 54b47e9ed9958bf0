"""Every pipeline that a run can ask for, made by name."""

from pipelines import tasks
from pipelines.engines.choose import engine
from pipelines.engines.serving import TITLES
from pipelines.tasks import served
from pipelines.topologies.asking import Direct, Fused, Preprocessing, Ready, Single
from pipelines.topologies.outcome import Pipeline
from pipelines.topologies.scenario import NOBODY, Setup


def pipeline(setup: Setup) -> Pipeline:
    """Return the pipeline as one user runs it. Raises VisiontaxError as `check` does."""
    setup.check()
    setup.check_broker()
    if setup.brokered:
        from pipelines.topologies.brokered.client import Brokered

        return Brokered(setup)
    lone = Ready if setup.alone else Preprocessing if setup.only else Single
    kinds = {"fused": Fused, "direct": Direct, None: lone}
    server = TITLES[setup.served_by] if setup.named else ""
    asked = engine(
        setup.transport,
        setup.asked_at,
        service_s=setup.service_s,
        service_times=setup.service_times,
        server=server,
    )
    return kinds[setup.topology](asked, setup)


def models(*setups: Setup) -> list[str]:
    """Return the models of the repository that are asked; an ensemble brings its parts along."""
    return list(dict.fromkeys(model for setup in setups for model in _models(setup)))


def _models(setup: Setup) -> list[str]:
    first = tasks.first_task(setup.pipeline)
    if setup.only and setup.place != "client":
        return [served.preprocessing(first.name, setup.preprocess, place=setup.place)]
    asked = [first.dnn.model]
    if setup.topology == "fused":
        asked.append(f"{setup.pipeline}_{setup.preprocess}")
    elif setup.place not in ("client", NOBODY):
        asked.append(served.ensemble(first.name, setup.preprocess, place=setup.place))
    if tasks.is_chain(setup.pipeline):
        asked.append(tasks.chain(setup.pipeline).second.model)
    return asked


def stages(*setups: Setup) -> dict[str, str]:
    """Return the stage of the time that each model of the pipelines computes, at whatever place."""
    return {model: stage for setup in setups for model, stage in _stages(setup).items()}


def _stages(setup: Setup) -> dict[str, str]:
    pipeline, preprocess = setup.pipeline, setup.preprocess
    first = tasks.first_task(pipeline)
    named = {
        served.preprocessing(first.name, preprocess): "preprocess",
        first.dnn.model: "inference",
    }
    if preprocess == "dali":
        named[served.preprocessing(first.name, preprocess, place="server-gpu")] = "preprocess"
    if tasks.is_chain(pipeline):
        named[tasks.chain(pipeline).second.model] = "inference"
        named[f"{pipeline}_{preprocess}"] = "preprocess"  # its own spans say more than the box
    return named
