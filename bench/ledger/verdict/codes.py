"""The codes of the issues that a run may have."""

from collections.abc import Iterator

CODES = {
    "NO_REQUESTS": "measure for longer than a request takes, and see the errors",
    "ERRORS": "the numbers are of the others; every error is in requests-*.jsonl, by its request",
    "GENERATOR_LOST": "see why it ended, in its own log or the kernel's, and run it again",
    "MISSING": "run it again if a process of the load generator was lost; 'bench collect' brings "
    "what other hosts recorded",
    "DROPS": "the server cannot keep up: ask for a lower rate, or let more be under way (--users)",
    "BACKLOG": "less is answered than comes, and a longer run waits longer: ask for a lower rate",
    "SERVER_DIED": "start the server again; its log says why, and the requests which images",
    "RESTARTED": "let the server run through; its log says why it ended. Then measure again",
    "UNFINISHED": "run it again for its full length",
    "SHORT": "run it again for its full length; with locust give a longer --run-time",
    "NO_TRACE": "run on the server's host, with its trace file readable (see docs/results.md)",
    "UNJOINED": "see whether the server was restarted: killed, it loses its last requests' trace",
    "CLOCK": "run the load generator on the server's host: the ledger needs one clock",
    "CLOCK_STEP": "let the machine run through, and its clock be slewed (chrony); measure again",
    "OTHER": "the machine may be overloaded; fewer users, or more cores",
    "GENERATOR_LATE": "give it more processes (locust --processes) or cores, or fewer users",
    "GENERATOR_BUSY": "give it more processes (locust --processes), or less to do on the client",
    "GENERATOR_RATE": "give it more processes (locust --processes) or hosts, or offer less",
    "LITTLE": "see that the folder is whole and of one run, and its disk not full; run it again",
    "DRIFT": "measure for longer, after a longer --warmup: docs/results.md says how it is told",
    "CHANGE": "see what else happened at that moment, and measure again, for longer",
    "WARM_UP": "take a longer --warmup",
    "STEAL": "take a machine, or cores, of your own",
    "FOREIGN": "stop what else runs here (see top), or measure on a quiet machine",
    "MEMORY": "measure for longer: does it go on? Then it will end the process one day",
    "SPANS": "see docs/own-code.md: how stages are named, and whose request a span is of",
    "FEW": "measure for longer, with --duration",
}
"""Every code an issue may have, and its cure."""

Found = Iterator[tuple[str, str, bool]]
"""The code of an issue, what it says, and whether it invalidates the run."""
