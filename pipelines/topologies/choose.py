"""Every pipeline that a run can ask for, made by name."""

from pipelines import tasks
from pipelines.engines.choose import engine
from pipelines.tasks import served
from pipelines.topologies.asking import Direct, Fused, Ready, Single
from pipelines.topologies.outcome import Pipeline
from pipelines.topologies.scenario import NOBODY, Setup


def pipeline(setup: Setup) -> Pipeline:
    """Return the pipeline as one user runs it. Raises VisiontaxError as `check` does."""
    setup.check()
    setup.check_broker()
    if setup.brokered:
        from pipelines.topologies.brokered.client import Brokered

        return Brokered(setup)
    kinds = {"fused": Fused, "direct": Direct, None: Ready if setup.alone else Single}
    asked = engine(setup.transport, setup.asked_at, service_s=setup.service_s)
    return kinds[setup.topology](asked, setup)


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
