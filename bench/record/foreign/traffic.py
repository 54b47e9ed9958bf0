"""Production traffic that others recorded: which kind a file is, by its content, and the requests
that executions of models make together.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.record import trace
from bench.record.files import opened
from pipelines.errors import ResultsError

TRACE, STATISTICS, OTLP = KINDS = ("triton-trace", "triton-statistics", "otlp")

RECEIVED = ("HTTP_RECV_START", "GRPC_WAITREAD_END")
SENT = ("HTTP_SEND_END", "GRPC_SEND_END")
"""When the server had the first of a request, and when it had sent the last of the reply."""

_HEAD_BYTES = 1 << 16
_MARKS = {"model_stats": STATISTICS}
_MARKS |= dict.fromkeys(("resourceSpans", "resourceLogs", "resourceMetrics"), OTLP)
_GZIP = b"\x1f\x8b"
KNOWN = (
    "give Triton's trace (--trace-config=mode=triton), two answers of GET /v2/models/stats, or the "
    "lines of the OpenTelemetry collector's file exporter"
)

_AGAIN = "leave the file out, or record again with log_frequency, which makes many small files"


@dataclass
class Execution:
    """One execution of a model: `events` are ns by the names of trace.EVENTS, absent ones left out.

    `id` is unique in what was read, `parent` that of the execution that asked for it, 0 without;
    `request` is the client's id, empty without one. `calls` are the executions it asked for.
    """

    id: int
    parent: int
    model: str
    request: str
    events: dict[str, int]
    calls: list["Execution"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model, self.request = map(_shown, (self.model, self.request))

    def at(self, *names: str) -> int:
        """Return the first of these events that there is, 0 without any."""
        return next((self.events[name] for name in names if self.events.get(name)), 0)

    @property
    def end_ns(self) -> int:
        """When it had computed, for who asked; else when the server was done with it."""
        return self.at("COMPUTE_END", "REQUEST_END")

    def all(self) -> Iterator["Execution"]:
        """Return it and all that it asked for, directly or not."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            waiting += one.calls
            yield one


@dataclass
class Traffic:
    """The requests of a source by their root executions; `lost` counts parts of others.

    `cut` says that a file ends in mid-request; `instances` of the server took part; `unix` that the
    times are the wall clock's.
    """

    roots: list[Execution]
    lost: int = 0
    cut: bool = False
    instances: int = 1
    unix: bool = False


def _shown(name: str) -> str:
    """A name without what a file of lines or a terminal would obey."""
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


def kind_of(path: Path) -> str:
    """Return which of KINDS the file is. Raises ResultsError when it is none."""
    try:
        with opened(path) as file:
            head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    except FileNotFoundError:
        raise ResultsError(f"there is no file {path}", hint=KNOWN) from None
    except ResultsError as error:
        raise ResultsError(str(error), hint=KNOWN) from error
    if not head:
        raise ResultsError(f"{path} is empty", hint=f"was anything recorded? {KNOWN}")
    if head.startswith(b"["):
        return TRACE
    if head.startswith(b"{"):
        found = re.search(rb'"(%s)"' % "|".join(_MARKS).encode(), head)
        if found:
            return _MARKS[found[1].decode()]
    hint = f"it is compressed: unpack it with gunzip, and {KNOWN}"
    raise ResultsError(
        f"{path} is no recording that can be read",
        hint=hint if head.startswith(_GZIP) else KNOWN,
    )


def of_trace(paths: Iterable[Path]) -> Traffic:
    """Read files of Triton's trace, whole or cut off. Raises ResultsError of a damaged one."""
    found = Traffic([])
    count = 0
    for path in paths:
        try:
            rows, ending = trace.read_file(path)
        except ResultsError as error:
            raise ResultsError(str(error), hint=_AGAIN) from error
        fresh = executions(rows)
        roots, lost = trees(fresh, numbered_from=count + 1)
        count += len(fresh)
        if ending != "whole":
            kept = _before_the_cut(roots, last=fresh[-1] if fresh else None, clean=ending == "open")
            found.cut |= ending == "cut" or len(kept) < len(roots)
            roots = kept
        found.roots += roots
        found.lost += lost
    return found


def executions(rows: Iterable[Sequence[Any]]) -> list[Execution]:
    """Return the executions in the rows of a trace's table."""
    return [
        Execution(id, parent, model, request, _events(stamps))
        for request, model, id, parent, *stamps in rows
    ]


def _events(stamps: Sequence[int]) -> dict[str, int]:
    return {name: ns for name, ns in zip(trace.EVENTS, stamps, strict=True) if ns}


def trees(executions: list[Execution], *, numbered_from: int = 1) -> tuple[list[Execution], int]:
    """Return the roots that are whole, with new numbers, and how many executions are of no such.

    A request that is whole has the start and the end of all its executions.
    """
    by_id = {one.id: one for one in executions}
    asked = defaultdict(list)
    for one in executions:
        asked[one.parent].append(one)
        parent = by_id.get(one.parent)
        if one.parent and parent is not None:
            parent.calls.append(one)
    roots = [root for root in asked[0] if all(map(_is_whole, root.all()))]
    number = numbered_from
    for root in roots:
        for one in root.all():
            one.id, number = number, number + 1
        for one in root.all():
            one.calls.sort(key=lambda each: each.at("COMPUTE_START", "REQUEST_START"))
            for each in one.calls:
                each.parent = one.id
    return roots, len(executions) - (number - numbered_from)


def _is_whole(one: Execution) -> bool:
    """Whether it started and ended, in this order."""
    return 0 < one.at("REQUEST_START") <= one.at("REQUEST_END")


def _before_the_cut(
    roots: list[Execution], *, last: Execution | None, clean: bool
) -> list[Execution]:
    """Leave out the request that the last execution is of where parts of it may be missing.

    They are written one after the other. `clean` says that the cut is not in mid-event.
    """
    for root in roots:
        if last is not None and any(one is last for one in root.all()):
            others = [one for one in roots if one is not root]
            sizes = {len([*one.all()]) for one in others if one.model == root.model}
            varies = not clean and len(sizes) > 1
            few = len([*root.all()]) < min(sizes, default=1)
            answered = root.at(*SENT) or not root.at(*RECEIVED)
            empty = not root.calls and not root.at("COMPUTE_END")
            return others if varies or few or empty or not answered else roots
    return roots
