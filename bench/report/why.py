"""Why a run is slow, in words: each finding as a sentence, its evidence, and the command to type.

Strings that leave here are plain text, so a page or a table still has to escape them.
"""

import shlex
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.ledger.causes.findings import LARGE, Finding, findings
from bench.ledger.causes.opened import opened
from bench.ledger.summary import Summary
from bench.ledger.units import clean, number, percent

TITLE = "Why is it slow?"

SAID = {
    "PREPROCESSING": "Preprocessing takes {share} of the time, most of it {step}, of images of "
    "{images}.",
    "QUEUE": "Requests wait in queues for {share} of the time: more arrive than is worked on.",
    "OVERSUBSCRIBED": "{model} has {instances} instances of {threads} threads on {cores} cores: "
    "they take turns, which explains {share} of the time.",
    "TRANSPORT": "The way of {sends} to the server, and of the answer back, takes {share} of the "
    "time: send fewer bytes, or share memory.",
    "ENSEMBLE_TENSORS": "Handing tensors from one model to the next takes {share} of the time.",
    "IDLE_CORES": "Requests wait for {share} of the time while cores idle: there are too few "
    "instances for {stage}.",
    "POSTPROCESSING": "Making answers of the raw outputs takes {share} of the time.",
    "CLIENT": "The load generator itself takes {share} of the time: it is too slow for its users.",
    "BROKER": "The message broker takes {share} of the time: publishing, waiting, consuming.",
    "INFERENCE": "The DNN itself takes {share} of the time: little is to be gained around it; a "
    "GPU, a smaller model, or batching where it has to be many at a time would help.",
}
"""What each code says; the names are those of the evidence."""

AGAIN = "Serve it as below, and run it again with the --server that is printed."


@dataclass(frozen=True)
class Told:
    """A finding in words."""

    code: str
    said: str
    evidence: str
    command: str


def why(summary: Summary) -> list[Told]:
    """Return the findings of a run in words, what explains most first."""
    return [_told(one) for one in findings(summary)]


def nothing(summary: Summary) -> str:
    """Return the one sentence where there is no finding."""
    if not summary.valid:
        return "Its numbers cannot be trusted, so no cause is named: mend what is said above first."
    large = f"{100 * LARGE:.0f} %"
    if (server := summary.stages.get("server")) and not summary.counters:
        return (
            f"The server takes {percent(server.share)} of the time, and does not tell on what: "
            "docs/own-code.md says how its own code can, in two lines."
        )
    if inference := opened(summary).stages.get("inference"):
        dnn = percent(inference.share)
        return f"The DNN takes {dnn} of the time, and no other cause explains {large} of it."
    return f"No cause explains {large} of the time or more."


def document(summary: Summary) -> dict[str, Any]:
    """Return what the JSON of a run holds."""
    made = [
        msgspec.structs.asdict(one) | {"said": _told(one).said, "command": shlex.join(one.command)}
        for one in findings(summary)
    ]
    return msgspec.structs.asdict(summary) | {"findings": made}


def _told(finding: Finding) -> Told:
    shown = {name: _shown(name, value) for name, value in finding.evidence.items()}
    said = SAID[finding.code].format(**shown, share=percent(finding.share))
    if "serve" in finding.command[:2]:
        said = f"{said} {AGAIN}"
    evidence = ", ".join(f"{_named(name)} {one}" for name, one in shown.items())
    return Told(finding.code, said, evidence, clean(shlex.join(finding.command)))


def _named(name: str) -> str:
    """What a number is of; its unit stands behind it."""
    return name.removesuffix(_unit(name)).replace("_", " ").strip()


def _unit(name: str) -> str:
    unit = name.rpartition("_")[2]
    return unit if unit in ("ms", "bytes", "share") else ""


def _shown(name: str, value: float | str) -> str:
    unit = _unit(name)
    if isinstance(value, str):
        return clean(value)
    if unit == "share":
        return percent(value)
    whole = isinstance(value, int) or unit == "bytes"
    return f"{f'{value:,.0f}' if whole else number(value)} {unit}".strip()
