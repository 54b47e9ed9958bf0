"""Whether a run can be trusted: every reason for doubt, with its cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bench.ledger.attribution import COLUMNS, Ledger
from bench.ledger.summary import Issue, share
from bench.record.records import Manifest
from pipelines.spans import OTHER

ERRORS_AT_MOST = 0.01
UNJOINED_AT_MOST = 0.01
OTHER_AT_MOST = 0.05
SCHEDULE_AT_MOST = 0.10
BACKWARDS_AT_MOST = 0.01
FEW_REQUESTS = 100

CODES = {
    "NO_REQUESTS": "no request succeeded while it counted",
    "ERRORS": "some requests failed",
    "UNFINISHED": "the run was cut off before its end",
    "NO_TRACE": "no request has a trace of the server",
    "UNJOINED": "some requests have no trace of the server",
    "CLOCK": "client and server do not share a clock",
    "OTHER": "too much time belongs to no stage",
    "GENERATOR_LATE": "the load generator was late",
    "FEW": "too few requests for a p99",
}
"""Every code an issue may have, and what it means."""


def judge(manifest: Manifest, ledger: Ledger, *, failed: Counter[str]) -> list[Issue]:
    """Return the issues of a run, those that invalidate it first.

    The ledger is of its measured requests, `failed` counts those without a result by their error.
    """
    found = [*_of_run(manifest, len(ledger.due_ns), failed=failed)]
    if len(ledger.due_ns):
        found += _of_requests(ledger)
        if manifest.settings.traced:
            found += _of_trace(ledger)
        if not manifest.settings.traced or ledger.joined.any():
            found += _of_stages(ledger)
    return sorted(found, key=lambda issue: not issue.invalid)


def _of_run(manifest: Manifest, succeeded: int, *, failed: Counter[str]) -> Iterator[Issue]:
    if not succeeded:
        yield Issue(
            "NO_REQUESTS",
            "no request succeeded in the window of measurement",
            "measure for longer than a request takes, and see the errors",
            invalid=True,
        )
    if failed:
        total = failed.total() + succeeded
        reason, times = failed.most_common(1)[0]
        yield Issue(
            "ERRORS",
            f"{failed.total()} of {total} requests failed, {times} with: {reason}",
            "the numbers are of the others; every error is in requests-*.jsonl, by its request",
            invalid=failed.total() > ERRORS_AT_MOST * total,
        )
    if manifest.window_end_ns is None:
        yield Issue(
            "UNFINISHED",
            "the run was cut off: this is what had been recorded",
            "run it again for its full length",
            invalid=False,
        )


def _of_requests(ledger: Ledger) -> Iterator[Issue]:
    late = share(ledger, "schedule") or 0.0
    if late > SCHEDULE_AT_MOST:
        yield Issue(
            "GENERATOR_LATE",
            f"the load generator was late for {late:.0%} of the time",
            "give it more processes (locust --processes) or cores, or fewer users",
            invalid=True,
        )
    count = len(ledger.due_ns)
    if count < FEW_REQUESTS:
        yield Issue(
            "FEW",
            f"only {count} requests: p99 and the slowest 1 % are one or two of them",
            "measure for longer, with --duration",
            invalid=False,
        )


def _of_trace(ledger: Ledger) -> Iterator[Issue]:
    missing, total = int((~ledger.joined).sum()), len(ledger.joined)
    if missing == total:
        yield Issue(
            "NO_TRACE",
            "no request has a trace of the server, so its time there is unknown",
            "run on the server's host, with its trace file readable (see docs/results.md)",
            invalid=True,
        )
    elif missing:
        yield Issue(
            "UNJOINED",
            f"{missing} of {total} requests have no trace of the server; the stages leave them out",
            "see whether the server was restarted: killed, it loses its last requests' trace",
            invalid=missing > UNJOINED_AT_MOST * total,
        )


def _of_stages(ledger: Ledger) -> Iterator[Issue]:
    told = ledger.select(ledger.joined) if ledger.joined.any() else ledger
    part = share(told, OTHER) or 0.0
    if part > OTHER_AT_MOST:
        yield Issue(
            "OTHER",
            f"{part:.0%} of the time belongs to no stage",
            "the machine may be overloaded; fewer users, or more cores",
            invalid=True,
        )
    # A request that the server had before the client sent it has, by the sweep, no `send` at all.
    unsent = (ledger.time_ns[:, COLUMNS.index("send")] == 0) & ledger.joined
    backwards = int(unsent.sum())
    if backwards > BACKWARDS_AT_MOST * len(ledger.due_ns):
        yield Issue(
            "CLOCK",
            f"{backwards} requests were with the server before they were sent",
            "run the load generator on the server's host: the ledger needs one clock",
            invalid=True,
        )
