"""One finding of `bench doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Check:
    """One finding. `optional` says that something is absent which only some uses need.

    `cure` is empty when the state is ok.
    """

    name: str
    state: State
    detail: str
    cure: str = ""


def need(name: str, present: object, detail: str, *, cure: str) -> Check:
    """Return the finding about something that every run needs."""
    return Check(name, "ok", detail) if present else Check(name, "missing", detail, cure)


def wish(name: str, present: object, detail: str, *, cure: str) -> Check:
    """Return the finding about something that only some uses need."""
    return Check(name, "ok", detail) if present else Check(name, "optional", detail, cure)
