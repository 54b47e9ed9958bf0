"""Numbers, names and sentences as every report prints them.

Formats only: every number comes from a `Summary`. Strings that leave here are plain text, so a page
or a table still has to escape them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.ledger.mix import PIPELINE, Group
from bench.ledger.models import inference_ms
from bench.ledger.quantiles import LEVEL, Quantile
from bench.ledger.summary import StageTime, Summary
from bench.ledger.units import ABSENT, clean, count, number, percent, points, quantile
from bench.record.manifest import LEVELS
from pipelines.engines.serving import TRITON
from pipelines.preprocess.choose import FULL

COMPARE_HEADS = (
    *("images", "preprocess", "place", "via", "users", "req/s"),
    *("mean", "p99", "not inf.", "valid"),
)
STAGE_HEADS = ("stage", "mean", "p50", "p99", "share", "work")
TAIL_HEADS = ("stage", "mean", "p50", "share", "work", "vs all")
MIX_HEADS = (
    *("images", "requests", "errors"),
    *("mean", "p99", "preprocess", "not inf."),
)
MIX, PIPELINES = "By the image's size and format", "By pipeline"
APPORTIONED = "* measured by truncated graphs, not timed by itself"
WORK = (
    "work: mean of summed span durations, also of what the request did not wait for, each divided "
    "by the images or crops that shared it"
)
LETTERS = dict(zip(LEVELS, "abcd", strict=True))
"""How people call the levels at which an attached server can be seen."""

INTERVALS = f"(low to high): where the quantile is by {100 * LEVEL:.0f} %"
LATENCY = f"Latency in ms, {INTERVALS}"
CANNOT = "these numbers cannot be trusted"
EMPTY = "No request succeeded: there is no time to account for."


def cpu(summary: Summary) -> dict[str, str]:
    """CPU time by whose it is; several cores make more than 100 %."""
    shares = {"generator CPU": summary.generator_cpu_share, "server CPU": summary.server_cpu_share}
    if summary.workers:
        shares["workers' CPU"] = summary.worker_cpu_share
        shares["broker CPU"] = summary.broker_cpu_share
    return {
        name: "not sampled" if share is None else f"{percent(share)} of a core"
        for name, share in shares.items()
    }


def outcome(summary: Summary) -> list[str]:
    """What came of it, one phrase a number."""
    return [
        count(summary.requests, "request"),
        count(summary.errors, "error"),
        *([f"{summary.dropped:,} dropped"] if summary.schedule is not None else []),
        *([f"{number(summary.offered_per_s)} offered/s"] if summary.offered_per_s else []),
        f"{number(summary.throughput_per_s)} requests/s",
        *([f"attached, level ({LETTERS[summary.level]})"] if summary.level in LETTERS else []),
        *(f"{name} {share}" for name, share in cpu(summary).items()),
        *energy(summary),
    ]


def energy(summary: Summary) -> list[str]:
    """What an image took of the counters of energy that there are, and their power."""
    found = summary.energy
    if found is None or found.joules_per_image is None:
        return []
    powers = " + ".join(f"{clean(name)} {number(one)} W" for name, one in found.watts.items())
    return [f"{number(found.joules_per_image)} J/image ({powers})"]


def verdict(summary: Summary) -> str:
    """VALID or INVALID, and what that means."""
    warnings = sum(not issue.invalid for issue in summary.issues)
    if not summary.valid:
        return f"INVALID: {CANNOT}"
    return f"VALID, with {count(warnings, 'warning')}" if warnings else "VALID"


def way(summary: Summary) -> str:
    """How an image was preprocessed, and that not all of it was decoded."""
    return " ".join([summary.preprocess, *([] if summary.decode == FULL else [summary.decode])])


def via(summary: Summary) -> str:
    """How a request travelled: a chain's topology, and the transport where that is not HTTP; where
    to, if not to Triton.
    """
    if summary.served_by != TRITON:
        return f"{summary.served_by} {summary.transport}"
    if summary.topology is None:
        return summary.transport
    plain = summary.transport == "http"
    return summary.topology if plain else f"{summary.topology} {summary.transport}"


def compare_row(summary: Summary) -> list[str]:
    """One run as a row under COMPARE_HEADS; latencies in milliseconds."""
    latency = summary.latency_ms
    return [
        *map(clean, (summary.images, way(summary), summary.place, via(summary))),
        f"{summary.users or ABSENT}",
        *map(number, (summary.throughput_per_s, latency.mean if latency else None)),
        quantile(latency.quantiles["p99"] if latency else None),
        percent(summary.non_inference_share if latency else None),
        "yes" if summary.valid else "INVALID",
    ]


def stage_rows(summary: Summary) -> list[list[str]]:
    """Rows under STAGE_HEADS, of all requests."""
    return [
        _stage_row(name, time, time.p50_ms, time.p99_ms) for name, time in summary.stages.items()
    ]


def tail_rows(summary: Summary) -> list[list[str]]:
    """Rows under TAIL_HEADS, of the slowest requests; last is the change of share against all."""
    return [
        [*_stage_row(name, time, time.p50_ms), points(time.share - _share(summary.stages, name))]
        for name, time in summary.tail_stages.items()
    ]


def _stage_row(name: str, time: StageTime, *told: Quantile) -> list[str]:
    times = (number(time.mean_ms), *map(quantile, told))
    return [marked(name, time), *times, percent(time.share), number(time.work_ms)]


class Mixed(NamedTuple):
    """A table of what was mixed."""

    title: str
    heads: tuple[str, ...]
    rows: list[list[str]]


def mixed(summary: Summary) -> list[Mixed]:
    """Return the table by pipeline where there are several, and the one by the image's size and
    format where these are.
    """
    pipelines = [group for group in summary.mix if group.by == PIPELINE]
    images = [group for group in summary.mix if group.by != PIPELINE]
    tables = [(PIPELINES, PIPELINE, pipelines), (MIX, "image", images)]
    return [Mixed(t, (head, *MIX_HEADS), _mix_rows(groups)) for t, head, groups in tables if groups]


def _mix_rows(groups: Iterable[Group]) -> list[list[str]]:
    return [
        [
            clean(group.name),
            *(f"{amount:,}" for amount in (group.images, group.requests, group.errors)),
            number(group.mean_ms),
            quantile(group.p99_ms),
            number(group.preprocess_ms),
            percent(group.non_inference_share),
        ]
        for group in groups
    ]


def latency(summary: Summary) -> str:
    """`p50 7.0 (6.9 to 7.1) · … · p99.9 too few: needs 5,000 · max 14`; empty of no requests."""
    if summary.latency_ms is None:
        return ""
    parts = [f"{name} {quantile(one)}" for name, one in summary.latency_ms.quantiles.items()]
    return " · ".join([*parts, f"max {number(summary.latency_ms.max)}"])


def marked(name: str, time: StageTime) -> str:
    """A stage's name, with a star where the stage was not timed by itself."""
    return clean(name) + ("*" if time.apportioned else "")


def footnotes(summary: Summary) -> list[str]:
    """The notes that the tables of this run need."""
    times = [*summary.stages.values(), *summary.tail_stages.values()]
    notes = [APPORTIONED] if any(time.apportioned for time in times) else []
    if any(number(time.work_ms) != number(time.mean_ms) for time in times):
        notes.append(WORK)
    return notes + summary.notes


def breakdown(summary: Summary) -> str:
    """`7.40 ms = 73 % inference + 9 % decode + …; 27 % is not inference`; percents add to 100."""
    if summary.latency_ms is None:
        return EMPTY
    parts = _parts(summary.stages)
    listed = " + ".join(f"{whole or '<1'} % {name}" for name, whole in parts)
    inference = next((whole for name, whole in parts if _is_inference(name)), 0)
    if summary.non_inference_share is None:
        return f"{number(summary.latency_ms.mean)} ms = {listed}; {by_counters(summary)}"
    tax = f"{100 - inference} %" if 0 < inference < 100 else percent(summary.non_inference_share)
    return f"{number(summary.latency_ms.mean)} ms = {listed}; {tax} is not inference"


def by_counters(summary: Summary) -> str:
    """Say what is known of inference where the server is one stage."""
    whole, table = summary.latency_ms, summary.counters
    took = inference_ms(table, whole=summary.pipeline) if table else None
    if took is None or whole is None:
        return "how much of the server's part is inference is not known"
    tax = percent(max(0.0, 1 - took / whole.mean))
    return f"by the server's counters {number(took)} ms is inference, and {tax} is not"


def tail_title(summary: Summary) -> str:
    """`the slowest 1 %: 12 requests, mean 25.3 ms`."""
    requests = count(summary.tail_requests, "request")
    return f"the slowest 1 %: {requests}, mean {number(summary.tail_latency_ms)} ms"


def tail_cause(summary: Summary) -> str:
    """One sentence naming the stage whose share grew most in the tail, if one grew by a point."""
    growth = {
        name: time.share - _share(summary.stages, name)
        for name, time in summary.tail_stages.items()
    }
    name = max(growth, key=growth.__getitem__, default="")
    if not name or growth[name] < 0.01:
        return "No stage's share grew: the slowest requests spend their time as all do."
    before, after = _share(summary.stages, name), summary.tail_stages[name].share
    return f"The share of {clean(name)} grew most: from {percent(before)} to {percent(after)}."


def _is_inference(label: str) -> bool:
    return label.rstrip("*") == "inference"


def _share(stages: Mapping[str, StageTime], name: str) -> float:
    return stages[name].share if name in stages else 0.0


def _parts(stages: Mapping[str, StageTime]) -> list[tuple[str, int]]:
    """Stages with whole percents that add to 100, largest first, those below 1 % lumped last.

    Inference is rounded by itself, so that its percent and that of the rest are both the nearest.
    """
    ordered = sorted(stages.items(), key=lambda item: -item[1].share)
    large = [(marked(name, time), time.share) for name, time in ordered if time.share >= 0.01]
    small = [(marked(name, time), time.share) for name, time in ordered if time.share < 0.01]
    if len(small) > 1:
        small = [(f"in {len(small)} smaller stages", sum(share for _, share in small))]
    tax = [part for part in large if not _is_inference(part[0])] + small
    dnn = [(name, round(100 * share)) for name, share in large if _is_inference(name)]
    shares = [share for _, share in tax]
    wholes = _apportion(shares, 100 - sum(whole for _, whole in dnn))
    listed = [(name, whole) for (name, _), whole in zip(tax, wholes, strict=True)]
    lump = [listed.pop()] if small and listed else []
    return sorted(dnn + listed, key=lambda part: -part[1]) + lump


def _apportion(shares: Sequence[float], total: int) -> list[int]:
    """Whole percents that add to `total`, by the largest remainder."""
    floors = [math.floor(100 * share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: floors[i] - 100 * shares[i])
    for i in by_remainder[: max(total - sum(floors), 0)]:
        floors[i] += 1
    return floors
