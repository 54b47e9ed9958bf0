"""Whether a run can be trusted: every reason for doubt, with its cure."""

from collections import Counter
from collections.abc import Iterator

from bench.ledger.attribution import COLUMNS, Ledger
from bench.ledger.summary import Issue, share
from bench.record.records import Manifest
from pipelines.errors import DEAD_MODEL
from pipelines.spans import OTHER

ERRORS_AT_MOST = 0.01
UNJOINED_AT_MOST = 0.01
OTHER_AT_MOST = 0.05
SCHEDULE_AT_MOST = 0.10
BACKWARDS_AT_MOST = 0.01
FEW_REQUESTS = 100

CODES = {
    "NO_REQUESTS": "measure for longer than a request takes, and see the errors",
    "ERRORS": "the numbers are of the others; every error is in requests-*.jsonl, by its request",
    "SERVER_DIED": "start the server again; its log says why, and the requests which images",
    "UNFINISHED": "run it again for its full length",
    "NO_TRACE": "run on the server's host, with its trace file readable (see docs/results.md)",
    "UNJOINED": "see whether the server was restarted: killed, it loses its last requests' trace",
    "CLOCK": "run the load generator on the server's host: the ledger needs one clock",
    "OTHER": "the machine may be overloaded; fewer users, or more cores",
    "GENERATOR_LATE": "give it more processes (locust --processes) or cores, or fewer users",
    "FEW": "measure for longer, with --duration",
}
"""Every code an issue may have, and its cure."""

Found = Iterator[tuple[str, str, bool]]
"""The code of an issue, what it says, and whether it invalidates the run."""


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
    issues = [Issue(code, said, CODES[code], invalid=invalid) for code, said, invalid in found]
    return sorted(issues, key=lambda issue: not issue.invalid)


def _of_run(manifest: Manifest, succeeded: int, *, failed: Counter[str]) -> Found:
    if not succeeded:
        yield "NO_REQUESTS", "no request succeeded in the window of measurement", True
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
    unsent = (ledger.time_ns[:, COLUMNS.index("send")] == 0) & ledger.joined
    backwards = int(unsent.sum())
    if backwards > BACKWARDS_AT_MOST * len(ledger.due_ns):
        yield "CLOCK", f"{backwards} requests were with the server before they were sent", True
