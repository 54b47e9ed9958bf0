"""What a pipeline is made of, and the one table of its settings: each is a field of a struct.

Whatever reads or shows settings is made from the fields: the options of commands, of Locust and of
workers, the keys of a side, the names of folders, the manifest, and the tables in the docs.
"""

from typing import Annotated

import click
import msgspec

from pipelines import tasks
from pipelines.engines import serving
from pipelines.engines.choose import SERVERLESS, TRANSPORTS, check_gpu, endpoint
from pipelines.engines.engine import SERVICE_S, SERVICE_TIMES
from pipelines.engines.serving import SERVERS, TRITON
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import DECODES, FULL, WAYS, check_decode
from pipelines.tasks.tensors import NORMALIZES
from pipelines.topologies.names import (
    ANSWERS,
    BROKERLESS,
    FORMS,
    FUSED,
    INGESTED,
    MOST_CROPS,
    NOBODY,
    PLACES,
    PREPROCESS,
    TOPOLOGIES,
    UNKNOWN,
)
from pipelines.topologies.setting import ADDRESS, DURATION, NAMED, Setting, table


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline is made of. Addresses are host:port, the server's may be a URL; None of what
    is not needed, or not started yet. `served_by` is the server's name, one of SERVERS.
    """

    pipeline: Annotated[str, Setting("What to run.", known=tasks.PIPELINES, rank=1)] = (
        "classification"
    )
    preprocess: Annotated[
        str, Setting("The way to preprocess.", known=sorted(WAYS), default="opencv", rank=3)
    ] = "opencv"
    place: Annotated[
        str,
        Setting(
            "Who preprocesses; a client then sends a tensor.",
            known=PLACES,
            default="server",
            rank=4,
        ),
    ] = "server"
    decode: Annotated[
        str,
        Setting(
            "How much of an image is decoded: all, or as few pixels as the resize that follows "
            "still shrinks, careful: to less than a third.",
            known=DECODES,
            default=FULL,
        ),
    ] = FULL
    only: Annotated[
        str | None,
        Setting(
            "Ask for this part alone: the preprocessing, whose tensor goes nowhere.",
            known=(PREPROCESS,),
            otherwise="all of the pipeline",
        ),
    ] = None
    transport: Annotated[
        str,
        Setting("How requests travel to Triton.", known=TRANSPORTS, default="http", rank=5),
    ] = "http"
    server: Annotated[
        str | None,
        Setting(
            f"What is started to serve: {', '.join(SERVERS)}; or the address of a running Triton.",
            NAMED,
            otherwise=TRITON,
        ),
    ] = None
    served_by: str = TRITON
    service_s: Annotated[
        float, Setting("How long the fake engine takes to answer.", DURATION, default="5ms")
    ] = SERVICE_S
    service_times: Annotated[
        str,
        Setting(
            "How the fake engine's times are spread about that.",
            known=list(SERVICE_TIMES),
            default="constant",
        ),
    ] = "constant"
    grpc_port: Annotated[
        int, Setting("Port of Triton's gRPC.", int, otherwise="HTTP's plus one")
    ] = 0
    topology: Annotated[
        str | None,
        Setting(
            "How a chain's DNNs are connected; of one DNN fused: with its preprocessing in one "
            "model, in place of an ensemble.",
            known=TOPOLOGIES,
            otherwise="direct of a chain",
            rank=6,
        ),
    ] = None
    normalize: Annotated[
        str,
        Setting(
            "Who normalizes: what preprocesses, or the DNN, to which pixels then go as uint8.",
            known=NORMALIZES,
            default=NORMALIZES[0],
        ),
    ] = NORMALIZES[0]
    answers: Annotated[
        str,
        Setting(
            "What a fused model of one DNN sends back: its tensors, or the answer made of them.",
            known=ANSWERS,
            default=ANSWERS[0],
        ),
    ] = ANSWERS[0]
    broker: Annotated[
        str | None,
        Setting(
            "Address of the topology's broker.",
            ADDRESS,
            otherwise="one is started",
            also="--broker-url",
        ),
    ] = None
    crops: Annotated[
        str,
        Setting("How crops travel through a broker.", known=FORMS, default="raw", with_broker=True),
    ] = "raw"
    claims: Annotated[
        str | None,
        Setting(
            "Address of the Redis for crops by reference.",
            ADDRESS,
            otherwise="the topology's, or one is started",
            also="--claims-url",
        ),
    ] = None
    batch: Annotated[
        int,
        Setting(
            "Most crops that the second stage takes at a time.",
            click.IntRange(1, MOST_CROPS),
            default=8,
            with_broker=True,
        ),
    ] = 8

    @property
    def traced(self) -> bool:
        """Whether there is a Triton whose trace can be had."""
        return not (self.named or self.serverless or self.transport in ("plain", INGESTED))

    @property
    def serverless(self) -> bool:
        """Whether no server is asked: the process that asks answers itself."""
        return self.transport in SERVERLESS

    @property
    def local(self) -> bool:
        """Whether the process that asks runs the DNN, one of them a core."""
        return self.transport == "local"

    @property
    def named(self) -> bool:
        """Whether what serves is no Triton, but another server that we start."""
        return self.served_by != TRITON

    @property
    def brokered(self) -> bool:
        """Whether a broker and workers take part."""
        return self.topology not in (None, *BROKERLESS)

    @property
    def task(self) -> tasks.Task:
        """The pipeline's task, of a chain its first."""
        return tasks.first_task(self.pipeline).normalized_by(self.normalize)

    @property
    def alone(self) -> bool:
        """Whether the DNN is asked with a ready tensor."""
        return self.place == NOBODY

    @property
    def asked_at(self) -> str:
        """The address that the transport itself talks to. Raises VisiontaxError without a port."""
        return endpoint(self.transport, self.server or "", grpc_port=self.grpc_port)

    def check_broker(self) -> None:
        """Raise VisiontaxError when a broker is needed, and it is not said where one is."""
        if self.brokered and not self.broker:
            raise VisiontaxError(
                f"the topology {self.topology} needs a broker",
                hint="say where it is with --broker, or let 'bench run' start one",
            )

    def check(self) -> None:
        """Raise VisiontaxError when a name is unknown, or names do not go together.

        A broker need not be there yet. Raises EngineError when the transport needs a GPU that this
        process cannot use.
        """
        check_gpu(self.transport)
        chain = self.pipeline in tasks.PIPELINES and tasks.is_chain(self.pipeline)
        for name, setting in table(type(self)).items():
            value = getattr(self, name)
            alone = self.alone and not chain and name in ("preprocess", "place")
            theirs = name == "preprocess" and value == UNKNOWN
            known = value is None or value in setting.known or alone or theirs
            if setting.known and not known:
                raise VisiontaxError(
                    f"unknown {name}: {value}", hint=f"known: {', '.join(setting.known)}"
                )
        asked = {"place": self.place, "transport": self.transport}
        serving.check(self.served_by, chain=chain, asked=asked)
        if self.place == "server-gpu" and self.preprocess != "dali":
            raise VisiontaxError(
                f"the place server-gpu preprocesses with dali, not with {self.preprocess}",
                hint="use --preprocess dali, or --place server",
            )
        self._check_only(chain=chain)
        self._check_decode(chain=chain)
        if self.local and (self.place != "client" or self.server):
            raise VisiontaxError(
                "the transport local asks no server: the client preprocesses and infers",
                hint="use --place client, and leave --server out",
            )
        if chain and self.topology is None:
            raise VisiontaxError(
                f"{self.pipeline} has two DNNs, so it needs a topology",
                hint=f"known: {', '.join(TOPOLOGIES)}",
            )
        if not chain and self.topology not in (None, FUSED):
            raise VisiontaxError(
                f"{self.pipeline} has one DNN, so it has no topology but {FUSED}",
                hint="leave --topology out",
            )
        self._check_fused(chain=chain)
        self._check_normalize(chain=chain)

    def _check_fused(self, *, chain: bool) -> None:
        if self.topology != FUSED:
            if self.answers != "tensors":
                raise VisiontaxError(
                    "only a fused model makes answers of tensors", hint=f"use --topology {FUSED}"
                )
        elif self.place != "server":
            raise VisiontaxError(
                "the topology fused preprocesses on the server's CPU", hint="use --place server"
            )
        elif self.named:
            raise VisiontaxError(
                f"{serving.TITLES[self.served_by]} does both steps in one process anyway",
                hint="leave --topology out",
            )
        elif self.only or (not chain and self.task.dnn.input.encoded):
            raise VisiontaxError("there are no two steps to fuse", hint="leave --topology out")
        elif chain and self.answers != "tensors":
            raise VisiontaxError("a chain's answers are encoded anyway", hint="leave --answers out")

    def _check_normalize(self, *, chain: bool) -> None:
        if self.normalize == "preprocess":
            return
        if chain or self.named:
            wrong = "it is of pipelines of one DNN, which Triton serves"
        elif not tasks.first_task(self.pipeline).dnn.input.normalized:
            wrong = f"the DNN of {self.pipeline} takes what is not normalized"
        else:
            return
        raise VisiontaxError(f"no DNN that normalizes: {wrong}", hint="leave --normalize out")

    def _check_decode(self, *, chain: bool) -> None:
        if self.decode == FULL:
            return
        if self.alone or self.preprocess == UNKNOWN or self.transport == "plain":
            wrong = "nothing is decoded here, or by a server that can be told"
        elif chain and (self.place == "client" or self.topology == "fused"):
            wrong = "who preprocesses cuts a chain's crops out of the image's own pixels too"
        else:
            check_decode(self.preprocess, self.decode)
            return
        raise VisiontaxError(f"no {self.decode} decoding: {wrong}", hint=f"--decode {FULL}")

    def _check_only(self, *, chain: bool) -> None:
        if self.only is None:
            return
        if chain or self.alone or tasks.first_task(self.pipeline).dnn.input.encoded:
            wrong = "it is of pipelines of one DNN, asked with images that are not its input"
        elif self.named or self.transport == "plain":
            wrong = "only Triton serves it by itself"
        elif self.place == "client" and self.transport != "fake":
            wrong = "a client's asks no server: --transport fake"
        else:
            return
        raise VisiontaxError(f"no preprocessing alone: {wrong}", hint="or leave --only out")
