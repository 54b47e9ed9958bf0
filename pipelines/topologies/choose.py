"""Every pipeline that a run can ask for, made by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines import tasks
from pipelines.brokers import BROKERS
from pipelines.engines.choose import check_gpu, engine
from pipelines.errors import VisiontaxError
from pipelines.preprocess.offload import on_threads
from pipelines.preprocess.ways import WAYS
from pipelines.tasks import served
from pipelines.topologies.outcome import Pipeline

PLACES = ("server", "server-gpu", "client")
"""Where the first DNN's input is made: in Triton, on its CPU or its GPU, or by who asks Triton."""

TOPOLOGIES = ("fused", "direct", *BROKERS)
"""How a chain's two DNNs are connected."""

DEFAULT_TOPOLOGY = "direct"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a pipeline is made of.

    `url` is host:port of the transport's endpoint, `broker_url` that of the broker; tasks of one
    DNN have no `topology`, and only some topologies have a broker.
    """

    pipeline: str
    way: str
    place: str
    transport: str
    url: str
    topology: str | None = None
    broker_url: str | None = None

    def check(self) -> None:
        """Raise VisiontaxError when a name is unknown, or names do not go together.

        Raises EngineError when the transport needs a GPU that this process cannot use.
        """
        check_gpu(self.transport)
        _known("pipeline", self.pipeline, tasks.PIPELINES)
        _known("way to preprocess", self.way, tuple(WAYS))
        _known("place", self.place, PLACES)
        if self.place == "server-gpu" and self.way != "dali":
            raise VisiontaxError(
                f"the place server-gpu preprocesses with dali, not with {self.way}",
                hint="use --preprocess dali, or --place server",
            )
        if not tasks.is_chain(self.pipeline):
            if self.topology is not None:
                raise VisiontaxError(
                    f"{self.pipeline} has one DNN, so it has no topology",
                    hint="leave --topology out, or run a chain",
                )
            return
        _known("topology", str(self.topology), TOPOLOGIES)
        if self.topology == "fused" and self.place != "server":
            raise VisiontaxError(
                "the topology fused preprocesses on the server's CPU", hint="use --place server"
            )
        if self.topology in BROKERS and not self.broker_url:
            raise VisiontaxError(
                f"the topology {self.topology} needs a broker",
                hint="say where it is with --broker-url, or let 'bench run' start one",
            )


def _known(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise VisiontaxError(f"unknown {what}: {name}", hint=f"known: {', '.join(names)}")


def pipeline(setup: Setup) -> Pipeline:
    """Return the pipeline as one user runs it. Raises VisiontaxError as `check` does."""
    setup.check()
    if not tasks.is_chain(setup.pipeline):
        from pipelines.topologies.single import Single

        task = tasks.task(setup.pipeline)
        asked = engine(setup.transport, setup.url)
        return Single(asked, task, way=setup.way, place=setup.place)
    chain = tasks.chain(setup.pipeline)
    if setup.topology in BROKERS:
        from pipelines.topologies.brokered.client import Brokered

        return Brokered(chain, kind=str(setup.topology), url=str(setup.broker_url))
    asked = engine(setup.transport, setup.url)
    if setup.topology == "fused":
        from pipelines.topologies.fused import Fused

        return Fused(asked, chain, way=setup.way)
    from pipelines.topologies.direct import Direct

    return Direct(asked, chain, way=setup.way, place=setup.place, where="client", run=on_threads)


def models(setup: Setup) -> list[str]:
    """Return the models of the repository that are asked; an ensemble brings its parts along."""
    first = tasks.first_task(setup.pipeline)
    asked = [first.dnn.model]
    if setup.topology == "fused":
        asked.append(f"{setup.pipeline}_{setup.way}")
    elif setup.place != "client":
        asked.append(served.ensemble(first.name, setup.way, place=setup.place))
    if tasks.is_chain(setup.pipeline):
        asked.append(tasks.chain(setup.pipeline).second.model)
    return asked


def stages(pipeline: str, *, way: str) -> dict[str, str]:
    """Return the stage of the time that each model of a pipeline computes, at whatever place."""
    first = tasks.first_task(pipeline)
    named = {served.preprocessing(first.name, way): "preprocess", first.dnn.model: "inference"}
    if way == "dali":
        named[served.preprocessing(first.name, way, place="server-gpu")] = "preprocess"
    if tasks.is_chain(pipeline):
        named[tasks.chain(pipeline).second.model] = "inference"
        named[f"{pipeline}_{way}"] = "preprocess"  # its own spans say more than the box
    return named
