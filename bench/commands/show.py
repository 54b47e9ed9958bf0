"""What commands that made runs exit with."""

from collections.abc import Sequence

from bench.ledger.summary import Summary

EXIT_INVALID = 4


def exit_code(summaries: Sequence[Summary]) -> int:
    """Return what a command that reported these runs exits with."""
    return 0 if all(summary.valid for summary in summaries) else EXIT_INVALID
