"""The scenario: what a run measures, as one struct. Its fields are the only table of settings."""

import functools
import math
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from pipelines import tasks
from pipelines.engines import serving
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import FULL
from pipelines.topologies.names import BROKERLESS, DEFAULT_TOPOLOGY, FUSED, NOBODY
from pipelines.topologies.scenario import Setup
from pipelines.topologies.setting import DURATION, Setting, Text, flag, table, workers_of

DEFAULT_IMAGES = {"faces": "faces-4", "text": "text-4"}
"""What is asked with unless the user says; `medium` for the others."""

TENSOR = "tensor"
"""The `images` of inference alone."""


EACH = "each-its-own"
"""The `images` of a mix of pipelines that are not all asked with the same unless the user says."""

IMAGES_MIX = "small:0.7,large:0.3"
PIPELINES_MIX = "classification:0.7,detection:0.3"


def mix_of(text: str, *, example: str = IMAGES_MIX) -> dict[str, float]:
    """Return the weight of each name in a mix of images or pipelines, written as the example; none
    of what is no mix, and where there is a file or folder of that name.

    Raises VisiontaxError where a weight is missing or not above 0, or a name comes twice.
    """
    parts = [part.strip().rpartition(":") for part in text.split(",")]
    weights = [_weight(weight) if name else None for name, _, weight in parts]
    if Path(text).exists() or not any(weight is not None for weight in weights):
        return {}
    found: dict[str, float] = {}
    for (name, _, last), weight in zip(parts, weights, strict=True):
        wrong = ""
        if weight is None or not (0 < weight < math.inf):
            wrong = f"of the mix {text!r} {name or last!r} has no weight above 0"
        elif name in found:
            wrong = f"in the mix {text!r} {name!r} comes twice"
        if wrong:
            raise VisiontaxError(wrong, hint=f"write {example}")
        found[name] = weight or 0.0
    return found


def _weight(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def called(text: str) -> str:
    """Return what the images, or the pipelines, are called in the names of runs."""
    parts = [f"{Path(name).name}-{weight:g}" for name, weight in mix_of(text).items()]
    return "+".join(parts) or Path(text).name


def _readable(images: str) -> str:
    """Return the text, of which a mix can be read where it is one."""
    mix_of(images)
    return images


def weights_of(pipeline: str) -> dict[str, float]:
    """Return the weight of each pipeline in a mix, and 1 of one that is none.

    Raises VisiontaxError as `mix_of` does.
    """
    mix = {} if pipeline in tasks.PIPELINES else mix_of(pipeline, example=PIPELINES_MIX)
    return mix or {pipeline: 1.0}


def known_pipelines(text: str) -> str:
    """Return the text, a pipeline or a mix. Raises VisiontaxError naming what is unknown."""
    for name in weights_of(text):
        if name not in tasks.PIPELINES:
            known = f"known: {', '.join(tasks.PIPELINES)}; several by weight: {PIPELINES_MIX}"
            raise VisiontaxError(f"unknown pipeline: {name}", hint=known)
    return text


ARRIVALS = ("poisson", "constant", "bursty")
"""How requests come: independently, at equal distances, or many at a time."""

LATE = ("drop", "queue")
"""What becomes of a request that nobody is free to send."""

MOST_IN_FLIGHT = 64
"""Of an open loop, unless the user says."""

OPEN = ("rate", "replay", "cameras")
"""The settings of which one makes an open loop."""

SIZED = ("preprocess_instances", "inference_instances", "threads", "dnn_batch")
"""The settings that say of what size a server is that is started."""

TIMING = (*OPEN, "arrivals", "late", "think_s")
"""The settings that say when requests are due."""


class Settings(Setup, frozen=True, kw_only=True):
    """What was asked for.

    Only chains have a `topology` that is not FUSED, and only topologies with a broker have
    `broker`, `claims` and workers. `device` is where the server ran the first DNN; the settings of
    SIZED are None unless they were asked for. What asks for something of `pipeline`, which may be a
    mix, asks it of its `parts`.
    """

    pipeline: Annotated[
        str,
        Setting(
            f"What to run; or a mix, by weight: {PIPELINES_MIX}.",
            Text("PIPELINE", known_pipelines),
            default="classification",
            rank=1,
        ),
    ] = "classification"
    images: Annotated[
        str,
        Setting(
            "An image set, or a folder of images; or a mix of them, by weight: "
            "small:0.7,large:0.3; or tensor: inference alone.",
            Text("NAME", _readable),
            otherwise="medium; a chain: faces-4 or text-4; in a mix each its own",
            rank=2,
        ),
    ] = "medium"
    workers: Annotated[
        tuple[int, int],
        Setting(
            "Workers of the first and of the second stage; 2 means two of each.",
            Text("N,M", workers_of),
            default="1,1",
            with_broker=True,
        ),
    ] = (1, 1)
    users: Annotated[
        int,
        Setting(
            "Users who each wait for an answer before they ask again; of requests with times of "
            "their own, the most that are under way.",
            click.IntRange(1),
            otherwise="1; with a rate 64",
            rank=7,
        ),
    ] = 1
    think_s: Annotated[
        float, Setting("How long a user thinks before the next request.", DURATION, default="0s")
    ] = 0.0
    rate: Annotated[
        str | None,
        Setting(
            "When requests are due, whatever the server does: 120/s, 10/s..200/s in 60s, 50/s for "
            "30s, 100/s, or 400/s on 1s off 3s.",
            Text("RATE", str),
            otherwise="when a user has its answer",
        ),
    ] = None
    arrivals: Annotated[
        str, Setting("How requests come at the rate.", known=ARRIVALS, default="poisson")
    ] = "poisson"
    replay: Annotated[
        str | None,
        Setting(
            "Or a CSV or Parquet file of recorded arrivals: time_s, and image where it is known.",
            Text("FILE", str),
            otherwise="none",
        ),
    ] = None
    cameras: Annotated[
        str | None,
        Setting(
            "Or frames: 8@25 is eight cameras of 25 a second each.",
            Text("N@FPS", str),
            otherwise="none",
        ),
    ] = None
    late: Annotated[
        str,
        Setting(
            "What becomes of a request that is due while as many are under way as may be; a frame "
            "is dropped when the camera's next one is due.",
            known=LATE,
            default="drop",
        ),
    ] = "drop"
    warmup_s: Annotated[
        float, Setting("How long requests do not count at first.", DURATION, default="2s")
    ] = 2.0
    seed: Annotated[
        int,
        Setting("Of the order in which users send the images.", click.IntRange(0), default=1),
    ] = 1
    device: Annotated[
        str, Setting("Where the DNNs run: cpu, gpu (the first one), or gpu:0,1.", default="cpu")
    ] = "cpu"
    preprocess_instances: Annotated[
        int | None,
        Setting(
            "Instances of each model that preprocesses; with a GPU, of each that stays on the CPU.",
            click.IntRange(1),
            otherwise="one per core",
        ),
    ] = None
    inference_instances: Annotated[
        int | None,
        Setting(
            "Instances of every other model; with GPUs, on each.",
            click.IntRange(1),
            otherwise="one per core; two per GPU",
        ),
    ] = None
    threads: Annotated[
        int | None,
        Setting(
            "Threads that each instance of a DNN computes with on the CPU.",
            click.IntRange(1),
            otherwise="as its configuration says: 1 of ours",
        ),
    ] = None
    dnn_batch: Annotated[
        int | None,
        Setting(
            "Requests that a DNN computes together, where as many wait for it, or come in 1 ms.",
            click.IntRange(1),
            otherwise="as its configuration says: 1 of ours",
        ),
    ] = None

    @property
    def open(self) -> bool:
        """Whether requests are due at their own times, and not when a user has its answer."""
        return any(getattr(self, name) is not None for name in OPEN)

    @property
    def sized(self) -> list[str]:
        """The options of the server's size that were asked for."""
        return [flag(name) for name in SIZED if getattr(self, name) is not None]

    def check(self) -> None:
        """Raise as a Setup does, also where the server has no such device, or it is not clear when
        requests are due. Of a mix each part is checked by itself.
        """
        known_pipelines(self.pipeline)
        members = parts(self)
        if self.pipeline not in members:
            self._check_mix()
            for one in members.values():
                one.check()
            return
        super().check()
        serving.check(self.served_by, chain=False, asked={"device": self.device})
        if self.named and (given := self.sized):
            raise VisiontaxError(
                f"{serving.TITLES[self.served_by]} has one worker a core, and no {given[0]}",
                hint=f"leave it out, or use --server {serving.TRITON}",
            )
        given = [name for name in OPEN if getattr(self, name) is not None]
        if len(given) > 1:
            raise VisiontaxError(
                f"{' and '.join(given)} each say when requests are due", hint="give one of them"
            )
        if self.local and (given or self.think_s):
            raise VisiontaxError(
                "the transport local asks again when it has its answer",
                hint=f"leave {flag(given[0] if given else 'think')} out",
            )
        if given and self.think_s:
            raise VisiontaxError(
                f"with {given[0]} no user thinks: requests are due at their own times",
                hint="leave --think out",
            )

    def check_sizes(self) -> None:
        """Raise VisiontaxError where a size is asked for of a server that is not to be started."""
        if self.server and self.sized:
            raise VisiontaxError(
                f"the server at {self.server} has its own instances and threads",
                hint=f"leave {' and '.join(self.sized)} out, or leave --server out: one is started",
            )

    def _check_mix(self) -> None:
        if self.named or self.transport == "plain":
            server = self.served_by if self.named else "a plain web server"
            wrong, hint = f"{server} serves one pipeline", "ask a Triton"
        elif self.brokered:
            wrong = f"the workers of {self.topology} are of one chain"
            hint = f"use --topology {' or '.join(BROKERLESS)}"
        elif self.topology not in (None, FUSED) and not any(
            map(tasks.is_chain, weights_of(self.pipeline))
        ):
            wrong, hint = f"no pipeline of it has a topology but {FUSED}", "leave --topology out"
        else:
            return
        raise VisiontaxError(f"{self.pipeline} is a mix, and {wrong}", hint=hint)


def parts(settings: Settings) -> dict[str, Settings]:
    """Return the settings of each pipeline that is asked, by its name: of a mix what each would
    have alone, else these.
    """
    names = weights_of(settings.pipeline)
    if settings.pipeline in names:
        return {settings.pipeline: settings}
    own = settings.images == EACH
    return {
        name: msgspec.structs.replace(
            settings,
            pipeline=name,
            images=_usual_images(name) if own else settings.images,
            **(_NOT_OF_CHAINS if tasks.is_chain(name) else _of_one_dnn(settings)),
        )
        for name in names
    }


_NOT_OF_CHAINS: dict[str, Any] = {name: getattr(Setup(), name) for name in ("normalize", "answers")}


def _of_one_dnn(settings: Settings) -> dict[str, Any]:
    return {"topology": FUSED if settings.topology == FUSED else None}


def _usual_images(pipeline: str) -> str:
    return DEFAULT_IMAGES.get(pipeline, "medium")


def settings_of(values: dict[str, Any], *, users: int = 1) -> Settings:
    """Return the settings with these values, a sensible default where one is None or left out.

    `users` are those of a closed loop. A `server` that is a name, and no address, becomes
    `served_by`.
    """
    known = set(Settings.__struct_fields__)
    given = {name: one for name, one in values.items() if name in known and one is not None}
    if given.get("server") in serving.SERVERS:
        given["served_by"] = given.pop("server")
    names = weights_of(given.get("pipeline", "classification"))
    is_open = any(given.get(name) is not None for name in OPEN)
    given.setdefault("users", MOST_IN_FLIGHT if is_open else users)
    usual = {_usual_images(name) for name in names}
    if given.get("images", EACH) == EACH:
        given["images"] = usual.pop() if len(usual) == 1 else EACH
    if given["images"] == TENSOR:
        given |= {"preprocess": NOBODY, "place": NOBODY, "decode": FULL}
    elif given.get("only") and given.get("place") == "client":  # nothing is asked of a server
        given |= {"transport": "fake", "service_s": 0.0}
    if any(map(tasks.is_chain, names)):
        given.setdefault("topology", DEFAULT_TOPOLOGY)
    return msgspec.convert(given | {"device": str(given.get("device", "cpu"))}, Settings)


@functools.lru_cache(maxsize=1)
def entries(settings: Settings) -> dict[str, dict[str, str]]:
    """Return where in Locust's statistics the requests of each pipeline stand."""
    found = {}
    for name, part in parts(settings).items():
        how = f"{part.preprocess}@{part.place}"
        called = how if part is settings else f"{name} {how}"
        found[name] = {"request_type": part.topology or part.transport, "name": called}
    return found


def title(settings: Settings) -> str:
    """Return the name that a run's folder has after the time."""
    named = (name for name, setting in table(type(settings)).items() if setting.rank)
    told = {name: getattr(settings, name) for name in named}
    told |= {name: called(told[name]) for name in ("pipeline", "images")}
    told["users"] = f"{settings.users}u"
    if settings.named:
        told["transport"] = f"{settings.served_by}-{settings.transport}"
    return "-".join(str(part) for part in told.values() if part)
