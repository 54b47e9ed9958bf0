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


def found(
    name: str, present: object, detail: str, *, cure: str, absent: State = "missing"
) -> Check:
    return Check(name, "ok", detail) if present else Check(name, absent, detail, cure)
