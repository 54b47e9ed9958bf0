"""Whether a run can be trusted: every reason for doubt, with its cure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.ledger.attribution.stored import Ints
from bench.ledger.attribution.table import Ledger
from bench.ledger.summary import Issue, share
from bench.ledger.verdict.codes import CODES, Found
from bench.ledger.verdict.littles_law import InFlight, of_flight
from bench.ledger.verdict.steadiness import of_backlog, of_latency
from bench.ledger.verdict.surroundings import of_surroundings
from bench.record.generator_check import doubt
from bench.record.manifest import Manifest
from bench.record.records import DROPPED, Died, Sample
from bench.record.scenario import Settings
from pipelines.errors import DEAD_MODEL
from pipelines.spans import OTHER

ERRORS_AT_MOST = 0.01
DROPS_AT_MOST = 0.01
MISSING_AT_MOST, MISSING_AT_LEAST = 0.01, 5
UNJOINED_AT_MOST = 0.01
OTHER_AT_MOST = 0.05
SCHEDULE_AT_MOST = 0.10
BACKWARDS_AT_MOST = 0.01
FEW_REQUESTS = 100
EVEN = re.compile(r"[\d.]+\s*/\s*\w+")
"""A rate that is the same all the time."""

SHORT_BELOW = 0.9
"""Of the seconds that were asked for: Locust ends a load some tenths early, or late."""


@dataclass(frozen=True)
class Watched:
    """What else was recorded of a run: its window, and how long the load was paused in it; when the
    successful requests were due and done, also those that do not count; the samples; how many were
    in flight; and how its server ended, if by itself.
    """

    window_ns: tuple[int, int]
    paused_ns: int
    due_ns: Ints
    end_ns: Ints
    samples: Sequence[Sample]
    in_flight: InFlight
    died: Died | None = None


def judge(
    manifest: Manifest,
    ledger: Ledger,
    *,
    failed: Counter[str],
    strange: Sequence[str] = (),
    watched: Watched | None = None,
    processes: int = 1,
) -> list[Issue]:
    """Return the issues of a run, those that invalidate it first.

    The ledger is of its measured requests, `failed` counts those without a result by their error,
    `strange` says what is wrong with the spans that servers told of themselves, and so many
    `processes` of the load generator asked. Where nobody watched, only these are judged.
    """
    found = [*_of_run(manifest, len(ledger.due_ns), failed=failed)]
    found += [("SPANS", said, False) for said in strange]
    found += _of_generator(manifest, processes)
    if len(ledger.due_ns):
        found += _of_requests(ledger)
        if manifest.traced:
            found += _of_trace(ledger)
        if not manifest.traced or ledger.joined.any():
            found += _of_stages(ledger)
    if watched:
        found += _of_course(manifest, watched, failed=failed)
    issues = [Issue(code, said, CODES[code], invalid=invalid) for code, said, invalid in found]
    return sorted(issues, key=lambda issue: not issue.invalid)


def _of_run(manifest: Manifest, succeeded: int, *, failed: Counter[str]) -> Found:
    if not succeeded:
        yield "NO_REQUESTS", "no request succeeded in the window of measurement", True
    dropped, total = failed[DROPPED], failed.total() + succeeded
    missing = (manifest.due or 0) - total
    away = [tag for tag, placed in manifest.hosts.items() if placed is None]
    if away:
        said = f"of {len(away)} of {len(manifest.hosts)} other hosts nothing is collected"
        yield "MISSING", said, True
    elif missing > max(MISSING_AT_LEAST, MISSING_AT_MOST * (manifest.due or 0)):
        said = f"{missing} of {manifest.due} requests that were due are not on record"
        yield "MISSING", said, True
    if manifest.lost:
        said = f"processes of the load generator that vanished in mid-run: {manifest.lost}"
        yield "GENERATOR_LOST", said, True
    failed = Counter({error: count for error, count in failed.items() if error != DROPPED})
    if dropped:
        said = f"{dropped} of {total} requests were dropped: too many were under way"
        yield "DROPS", said, dropped > DROPS_AT_MOST * total
    if failed:
        total = failed.total() + succeeded
        reason, times = failed.most_common(1)[0]
        said = f"{failed.total()} of {total} requests failed, {times} with: {reason}"
        yield "ERRORS", said, failed.total() > ERRORS_AT_MOST * total
    died = [said for said in failed if DEAD_MODEL in said]
    if died:
        yield "SERVER_DIED", f"a process of Triton died: {died[0]}", True
    if manifest.window_end_ns is None:
        yield "UNFINISHED", "the run was cut off: this is what had been recorded", False


def _of_generator(manifest: Manifest, processes: int) -> Found:
    end_ns = manifest.window_end_ns
    length_s = (end_ns - manifest.window_start_ns) / 1e9 if end_ns else 0.0
    if manifest.generator and manifest.due and length_s > 0:
        offered_per_s = manifest.due / length_s
        check = manifest.generator
        if found := doubt(check, offered_per_s=offered_per_s, processes=processes):
            said, above = found
            yield "GENERATOR_RATE", said, above


def _of_course(manifest: Manifest, watched: Watched, *, failed: Counter[str]) -> Found:
    """What happened while the load ran, and around it."""
    window_ns, paused = watched.window_ns, watched.paused_ns > 0
    measured_s = (window_ns[1] - window_ns[0]) / 1e9
    asked_s = manifest.duration_s
    if asked_s and manifest.window_end_ns is not None and measured_s < SHORT_BELOW * asked_s:
        yield "SHORT", f"measured {measured_s:.1f} of the {asked_s:g} s asked for", False
    if died := watched.died:
        when_s = (died.time_ns - window_ns[0]) / 1e9
        said = f"Triton ended by {died.how}, {when_s:.1f} s into the measurement: {died.words}"
        yield "SERVER_DIED", said, True
    if manifest.window_end_ns is not None and not failed:
        yield from of_flight(watched.in_flight)
    if not paused:
        times = watched.due_ns, watched.end_ns
        backlog = [*of_backlog(*times, window_ns=window_ns)] if manifest.settings.open else []
        yield from backlog
        if not backlog and _is_even(manifest.settings):
            yield from of_latency(*times, window_ns=window_ns)
    yield from of_surroundings(manifest, watched.samples, window_ns=window_ns, paused=paused)


def _is_even(settings: Settings) -> bool:
    """Whether the load is meant to be the same all the time."""
    changes = settings.rate is not None and not EVEN.fullmatch(settings.rate.strip())
    return settings.replay is None and not changes


def _of_requests(ledger: Ledger) -> Found:
    late = share(ledger, "schedule") or 0.0
    if late > SCHEDULE_AT_MOST:
        yield "GENERATOR_LATE", f"the load generator was late for {late:.0%} of the time", True
    count = len(ledger.due_ns)
    if count < FEW_REQUESTS:
        said = f"only {count} requests: p99 and the slowest 1 % are one or two of them"
        yield "FEW", said, False


def _of_trace(ledger: Ledger) -> Found:
    missing, total = int((~ledger.joined).sum()), len(ledger.joined)
    if missing == total:
        said = "no request has a trace of the server, so its time there is unknown"
        yield "NO_TRACE", said, True
    elif missing:
        said = (
            f"{missing} of {total} requests have no trace of the server; the stages leave them out"
        )
        yield "UNJOINED", said, missing > UNJOINED_AT_MOST * total


def _of_stages(ledger: Ledger) -> Found:
    told = ledger.select(ledger.joined) if ledger.joined.any() else ledger
    part = share(told, OTHER) or 0.0
    if part > OTHER_AT_MOST:
        yield "OTHER", f"{part:.0%} of the time belongs to no stage", True
    # A request that the server had before the client sent it has, by the sweep, no `send` at all.
    unsent = (ledger.time_of("send") == 0) & ledger.joined
    backwards = int(unsent.sum())
    if backwards > BACKWARDS_AT_MOST * len(ledger.due_ns):
        yield "CLOCK", f"{backwards} requests were with the server before they were sent", True
