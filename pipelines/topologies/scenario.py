"""What a pipeline is made of, and the one table of its settings: each is a field of a struct.

Whatever reads or shows settings is made from the fields: the options of commands, of Locust and of
workers, the keys of a side, the names of folders, the manifest, and the tables in the docs.
"""

import re
import typing
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import click
import msgspec

from pipelines import tasks
from pipelines.brokers import BROKERS
from pipelines.engines import serving
from pipelines.engines.address import address_of
from pipelines.engines.choose import SERVERLESS, TRANSPORTS, check_gpu, endpoint
from pipelines.engines.engine import SERVICE_S, SERVICE_TIMES
from pipelines.engines.serving import SERVERS, TRITON
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import DECODES, FULL, WAYS, check_decode
from pipelines.tasks.tensors import NORMALIZES

PLACES = ("server", "server-gpu", "client")
"""Where the first DNN's input is made: in Triton, on its CPU or its GPU, or by who asks Triton."""

FUSED = "fused"
BROKERLESS = (FUSED, "direct")
TOPOLOGIES = (*BROKERLESS, *BROKERS)
"""How a chain's two DNNs are connected; FUSED also one DNN with its preprocessing."""

ANSWERS = ("tensors", "encoded")
"""What a server sends back: the DNN's outputs, or the answer that is made of them."""

DEFAULT_TOPOLOGY = "direct"

FORMS = ("raw", "jpeg", "reference")
"""How crops travel: as pixels, as JPEG, or as a key under which Redis keeps the pixels."""

MOST_CROPS = 16
"""How many crops are asked about at a time: `max_batch_size` of the second DNNs."""

NOBODY = "none"
"""The `preprocess` and the `place` of inference alone, which is asked with a ready tensor."""

PREPROCESS = "preprocess"
"""What can be asked `only`."""

UNKNOWN = "unknown"
"""The `preprocess` of a server that somebody else made, which takes the image as it is."""

INGESTED = "ingested"
"""The `transport` of traffic that visiontax did not make: how it travelled is not known."""

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """Read `2s`, `500ms`, `1.5m`, `1h` or plain seconds. Raises VisiontaxError otherwise."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip())
    if parts is None:
        raise VisiontaxError(f"not a duration: {text!r}", hint="write it like 10s, 500ms or 2m")
    return float(parts[1]) * _UNITS_S[parts[2]]


def workers_of(text: str) -> tuple[int, int]:
    """Return how many workers of the first and of the second stage `2,1` or `2` asks for.

    Raises VisiontaxError when it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise VisiontaxError(
            f"not numbers of workers: {text!r}", hint="write 2,1 for two first and one second stage"
        )
    return int(parts[0]), int(parts[-1])


def address(text: str) -> str:
    """Return host:port of an address that may be written as a URL."""
    return text.rpartition("://")[2].rstrip("/")


class Text(click.ParamType[Any]):
    """A value on a command line, read by a function that raises VisiontaxError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value read; what is no text is one already."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except VisiontaxError as error:
            self.fail("; ".join(filter(None, (str(error), error.hint))), param, ctx)


@dataclass(frozen=True)
class Setting:
    """What the users of a setting must know of it.

    `kind` reads it on a command line. `known` are the values to choose from, where it has such.
    `default` is written the way a user writes it; `otherwise` says what holds without one.
    `with_broker` says that it means something with a broker only. `rank` is its place in the name
    of a run's folder, 0 when it is not in it. `also` is another name of its option.
    """

    help: str
    kind: Any = None
    known: Collection[str] = ()
    default: str | int | None = None
    otherwise: str = ""
    with_broker: bool = False
    rank: int = 0
    also: str = ""

    @property
    def type(self) -> Any:
        """How click reads one value."""
        return click.Choice(list(self.known)) if self.known else self.kind

    @property
    def shown(self) -> str:
        """The line of help, with the default that is no value."""
        return f"{self.help}  [{self.otherwise}]" if self.otherwise else self.help


DURATION = Text("duration", seconds)
ADDRESS = Text("host:port", address)
SERVER = Text("host:port or URL", lambda text: str(address_of(text)))
NAMED = Text("NAME, host:port or URL", serving.server)


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


def table(kind: type[msgspec.Struct]) -> dict[str, Setting]:
    """Return the settings of a struct by field; those in the name of a folder come first."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {
        field: extra
        for field in kind.__struct_fields__
        for extra in getattr(hints[field], "__metadata__", ())
        if isinstance(extra, Setting)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].rank or len(found)))


def flag(field: str) -> str:
    """Return the option of a setting; a unit is no part of it."""
    return f"--{field.removesuffix('_s').replace('_', '-')}"


def click_option(field: str, setting: Setting, **changes: Any) -> click.Option:
    """Return the setting as an option of a command, whose parameter is the field."""
    given = {
        "type": setting.type,
        "default": setting.default,
        "help": setting.shown,
        "show_default": setting.default is not None,
    }
    names = [flag(field), *([setting.also] if setting.also else []), field]
    return click.Option(names, **given | changes)


def click_options(
    kind: type[msgspec.Struct], *, without: Iterable[str] = (), **changes: dict[str, Any]
) -> list[click.Option]:
    """Return the options of a struct's settings; `changes` are those of single fields."""
    return [
        click_option(field, setting, **changes.get(field, {}))
        for field, setting in table(kind).items()
        if field not in without
    ]
