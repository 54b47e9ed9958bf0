"""The scenario: what a run measures, as one struct. Its fields are the only table of settings."""

from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from pipelines import tasks
from pipelines.topologies.scenario import (
    DEFAULT_TOPOLOGY,
    DURATION,
    Setting,
    Setup,
    Text,
    table,
    workers_of,
)

DEFAULT_IMAGES = {"faces": "faces-4", "text": "text-4"}
"""What is asked with unless the user says; `medium` for the others."""

TENSOR = "tensor"
"""The `images` of inference alone."""


class Settings(Setup, frozen=True, kw_only=True):
    """What was asked for.

    Only chains have a `topology`, and only topologies with a broker have `broker`, `claims` and
    workers. `device` is where Triton ran the first DNN.
    """

    images: Annotated[
        str,
        Setting(
            "An image set, or a folder of images.",
            Text("NAME", str),
            otherwise="medium; a chain: faces-4 or text-4",
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
            "Users who each wait for an answer before they ask again.",
            click.IntRange(1),
            default=1,
            rank=7,
        ),
    ] = 1
    warmup_s: Annotated[
        float, Setting("How long requests do not count at first.", DURATION, default="2s")
    ] = 2.0
    seed: Annotated[
        int, Setting("Of the order in which users send the images.", int, default=1)
    ] = 1
    device: Annotated[
        str, Setting("Where the DNNs run: cpu, gpu (the first one), or gpu:0,1.", default="cpu")
    ] = "cpu"


def settings_of(values: dict[str, Any]) -> Settings:
    """Return the settings with these values, a sensible default where one is None or left out."""
    known = set(Settings.__struct_fields__)
    given = {name: one for name, one in values.items() if name in known and one is not None}
    pipeline = given.get("pipeline", "classification")
    given.setdefault("images", DEFAULT_IMAGES.get(pipeline, "medium"))
    if tasks.is_chain(pipeline):
        given.setdefault("topology", DEFAULT_TOPOLOGY)
    return msgspec.convert(given | {"device": str(given.get("device", "cpu"))}, Settings)


def title(settings: Settings) -> str:
    """Return the name that a run's folder has after the time."""
    named = (name for name, setting in table(type(settings)).items() if setting.rank)
    parts = {name: getattr(settings, name) for name in named}
    parts |= {"images": Path(settings.images).name, "users": f"{settings.users}u"}
    return "-".join(str(part) for part in parts.values() if part)
