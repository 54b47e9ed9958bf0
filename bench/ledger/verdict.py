"""Whether a run can be trusted: every reason for doubt, with its cure."""

from __future__ import annotations

from collections import Counter

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
    found = [
        _requests(ledger),
        _errors(failed, total=failed.total() + len(ledger.due_ns)),
        _unfinished(manifest),
    ]
    if len(ledger.due_ns):
        found.append(_generator(ledger))
        found.append(_few(ledger))
        if manifest.settings.traced:
            found.append(_trace(ledger))
        if not manifest.settings.traced or ledger.joined.any():
            found.append(_other(ledger))
            found.append(_clock(ledger))
    return sorted((issue for issue in found if issue), key=lambda issue: not issue.invalid)


def _requests(ledger: Ledger) -> Issue | None:
    if len(ledger.due_ns):
        return None
    return Issue(
        "NO_REQUESTS",
        "no request succeeded in the window of measurement",
        "measure for longer than a request takes, and see the errors",
        invalid=True,
    )


def _errors(failed: Counter[str], *, total: int) -> Issue | None:
    if not failed:
        return None
    reason, times = failed.most_common(1)[0]
    return Issue(
        "ERRORS",
        f"{failed.total()} of {total} requests failed, {times} with: {reason}",
        "the numbers are of the others; every error is in requests-*.jsonl, by its request",
        invalid=failed.total() > ERRORS_AT_MOST * total,
    )


def _unfinished(manifest: Manifest) -> Issue | None:
    if manifest.window_end_ns is not None:
        return None
    return Issue(
        "UNFINISHED",
        "the run was cut off: this is what had been recorded",
        "run it again for its full length",
        invalid=False,
    )


def _trace(ledger: Ledger) -> Issue | None:
    missing = int((~ledger.joined).sum())
    if not missing:
        return None
    total = len(ledger.joined)
    if missing == total:
        return Issue(
            "NO_TRACE",
            "no request has a trace of the server, so its time there is unknown",
            "run on the server's host, with its trace file readable (see docs/results.md)",
            invalid=True,
        )
    return Issue(
        "UNJOINED",
        f"{missing} of {total} requests have no trace of the server; the stages leave them out",
        "see whether the server was restarted: killed, it loses its last requests' trace",
        invalid=missing > UNJOINED_AT_MOST * total,
    )


def _clock(ledger: Ledger) -> Issue | None:
    # A request that the server had before the client sent it has, by the sweep, no `send` at all.
    unsent = (ledger.time_ns[:, COLUMNS.index("send")] == 0) & ledger.joined
    backwards = int(unsent.sum())
    if backwards <= BACKWARDS_AT_MOST * len(ledger.due_ns):
        return None
    return Issue(
        "CLOCK",
        f"{backwards} requests were with the server before they were sent",
        "run the load generator on the server's host: the ledger needs one clock",
        invalid=True,
    )


def _other(ledger: Ledger) -> Issue | None:
    told = ledger.select(ledger.joined) if ledger.joined.any() else ledger
    part = share(told, OTHER) or 0.0
    if part <= OTHER_AT_MOST:
        return None
    return Issue(
        "OTHER",
        f"{part:.0%} of the time belongs to no stage",
        "the machine may be overloaded; fewer users, or more cores",
        invalid=True,
    )


def _generator(ledger: Ledger) -> Issue | None:
    part = share(ledger, "schedule") or 0.0
    if part <= SCHEDULE_AT_MOST:
        return None
    return Issue(
        "GENERATOR_LATE",
        f"the load generator was late for {part:.0%} of the time",
        "give it more processes (locust --processes) or cores, or fewer users",
        invalid=True,
    )


def _few(ledger: Ledger) -> Issue | None:
    count = len(ledger.due_ns)
    if count >= FEW_REQUESTS:
        return None
    return Issue(
        "FEW",
        f"only {count} requests: p99 and the slowest 1 % are one or two of them",
        "measure for longer, with --duration",
        invalid=False,
    )
