"""Numbers, names and sentences as every report prints them.

Formats only: every number comes from a `Summary`. Strings that leave here are plain text, so a page
or a table still has to escape them.
"""

import math
from collections.abc import Mapping, Sequence

from bench.ledger.summary import StageTime, Summary
from bench.ledger.units import clean, count, number, percent, points

COMPARE_HEADS = (
    *("images", "preprocess", "place", "via", "users", "req/s"),
    *("mean", "p50", "p99", "not inf.", "gen. CPU", "valid"),
)
STAGE_HEADS = ("stage", "mean", "p50", "p95", "p99", "share", "work")
TAIL_HEADS = (*STAGE_HEADS, "vs all")
MIX_HEADS = (
    *("image", "images", "requests", "errors"),
    *("mean", "p50", "p99", "preprocess", "not inf."),
)
MIX = "By the image's size and format"
APPORTIONED = "* measured by truncated graphs, not timed by itself"
WORK = (
    "work: mean of summed span durations, also of what the request did not wait for, each divided "
    "by the images or crops that shared it"
)
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
        f"{number(summary.throughput_per_s)} requests/s",
        *(f"{name} {share}" for name, share in cpu(summary).items()),
    ]


def verdict(summary: Summary) -> str:
    """VALID or INVALID, and what that means."""
    warnings = sum(not issue.invalid for issue in summary.issues)
    if not summary.valid:
        return "INVALID: these numbers cannot be trusted"
    return f"VALID, with {count(warnings, 'warning')}" if warnings else "VALID"


def via(summary: Summary) -> str:
    """How a request travelled: a chain's topology, and the transport where that is not HTTP."""
    if summary.topology is None:
        return summary.transport
    plain = summary.transport == "http"
    return summary.topology if plain else f"{summary.topology} {summary.transport}"


def compare_row(summary: Summary) -> list[str]:
    """One run as a row under COMPARE_HEADS; latencies in milliseconds."""
    latency = summary.latency_ms
    times = (latency.mean, latency.p50, latency.p99) if latency else (None, None, None)
    return [
        *map(clean, (summary.images, summary.preprocess, summary.place, via(summary))),
        f"{summary.users}",
        *map(number, (summary.throughput_per_s, *times)),
        percent(summary.non_inference_share if latency else None),
        percent(summary.generator_cpu_share),
        "yes" if summary.valid else "INVALID",
    ]


def stage_rows(
    stages: Mapping[str, StageTime], whole: Mapping[str, StageTime] | None = None
) -> list[list[str]]:
    """Rows under STAGE_HEADS; `whole` adds a column with the change of share against it."""
    rows = []
    for name, time in stages.items():
        numbers = (time.mean_ms, time.p50_ms, time.p95_ms, time.p99_ms)
        row = [marked(name, time), *map(number, numbers), percent(time.share), number(time.work_ms)]
        if whole is not None:
            row.append(points(time.share - _share(whole, name)))
        rows.append(row)
    return rows


def mix_rows(summary: Summary) -> list[list[str]]:
    """Rows under MIX_HEADS; none where all images are of one size class and format."""
    return [
        [
            clean(group.name),
            *(f"{amount:,}" for amount in (group.images, group.requests, group.errors)),
            *map(number, (group.mean_ms, group.p50_ms, group.p99_ms, group.preprocess_ms)),
            percent(group.non_inference_share),
        ]
        for group in summary.mix
    ]


def marked(name: str, time: StageTime) -> str:
    """A stage's name, with a star where the stage was not timed by itself."""
    return clean(name) + ("*" if time.apportioned else "")


def footnotes(summary: Summary) -> list[str]:
    """The notes that the tables of this run need."""
    times = [*summary.stages.values(), *summary.tail_stages.values()]
    notes = [APPORTIONED] if any(time.apportioned for time in times) else []
    if any(number(time.work_ms) != number(time.mean_ms) for time in times):
        notes.append(WORK)
    return notes


def breakdown(summary: Summary) -> str:
    """`7.40 ms = 73 % inference + 9 % decode + …; 27 % is not inference`; percents add to 100."""
    if summary.latency_ms is None:
        return EMPTY
    parts = _parts(summary.stages)
    listed = " + ".join(f"{whole or '<1'} % {name}" for name, whole in parts)
    inference = next((whole for name, whole in parts if _is_inference(name)), 0)
    tax = f"{100 - inference} %" if 0 < inference < 100 else percent(summary.non_inference_share)
    return f"{number(summary.latency_ms.mean)} ms = {listed}; {tax} is not inference"


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
