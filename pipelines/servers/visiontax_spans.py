"""Tells visiontax where the time of your server goes. Copy this one file beside your code:

    from visiontax_spans import span

    with span("decode"):
        ...

Standard library only, Python 3.8 and later. A span costs a fraction of a microsecond until a run
of visiontax makes its folder on this host; then spans are appended there a few times a second.
"""

from __future__ import annotations

import atexit
import contextvars
import dis
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections import deque
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Python 3.8 cannot evaluate them
    from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping

    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]
    Receive = Callable[[], Awaitable[Message]]
    Whose = tuple[tuple[str, ...], tuple[str, ...]]
    """The ids of who shares the work, and of who waits for it in the same batch."""
    Loops = dict[str, list[tuple[int, int]]]

FOLDER = "VISIONTAX_SPANS"
"""Names the folder below which runs make theirs, where it is not one per user in the temporary."""

HEADER = "x-request-id"
"""The HTTP header that has the request's id."""

BOX = "request"
"""What stands for the stage of the time from a request's arrival to its answer."""

LOOK_S = 1.0
WRITE_S = 0.25
STALE_S = 30.0
"""A run touches its folder once a second; of one that was killed this ends the spans."""

_MOST_FRAMES = 48
_MOST_WAITING = 1 << 18

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("visiontax_request")


class span:
    """Times what is done in its `with`, as a stage of a request.

    The request is that of `request_id`: an id, several ids that share the work, or one request or
    a list of them as Triton hands them over. Without it, it is that of the `with request(...)`
    around, else the one that the caller's local variables hold: of Triton's `requests`, or what
    has an HTTP header x-request-id.
    """

    __slots__ = ("_given", "_stage", "_start_ns", "_whose")

    def __init__(self, stage: str, *, request_id: Any = None) -> None:
        self._stage, self._given = stage, request_id

    def __enter__(self) -> span:
        if time.monotonic() >= _told.look_at:
            _told.look()
        self._start_ns = 0
        if _told.runs:
            try:
                self._whose = _whose(self._given, sys._getframe(1))
            except Exception:  # whatever the caller's variables are, it must not notice
                self._whose = _NOBODY
            self._start_ns = time.monotonic_ns()
        return self

    def __exit__(self, *_: object) -> None:
        if self._start_ns:
            end_ns = time.monotonic_ns()
            _told.add(self._stage, self._start_ns, end_ns, self._whose)


def tell(stage: str, start_ns: int, end_ns: int, *, request_id: Any = None) -> None:
    """Tell a stage whose times are known already, such as a wait that began in another process.

    They are of `time.monotonic_ns()`; `request_id` is as in `span`.
    """
    if _told.is_on():
        try:
            whose = _whose(request_id, sys._getframe(1))
        except Exception:  # as in `span`
            whose = _NOBODY
        _told.add(stage, start_ns, end_ns, whose)


class request:
    """The request that this thread or task works on, until its `with` ends.

    Put it around all that the server does for the request: what is before is the stage `send`, what
    is after is `receive`.
    """

    __slots__ = ("_id", "_outer", "_start_ns", "_token")

    def __init__(self, request_id: str) -> None:
        self._id = request_id

    def __enter__(self) -> request:
        self._outer = _request_id.get("")
        self._token = _request_id.set(self._id)
        self._start_ns = time.monotonic_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self.answered(time.monotonic_ns())
        _request_id.reset(self._token)

    def received(self, start_ns: int) -> None:
        """All of the request is there: what was before is `send`."""
        if self._start_ns:
            self._start_ns = start_ns

    def answered(self, end_ns: int) -> None:
        """The server begins to send the answer; the first moment counts."""
        if self._start_ns and self._id and self._id != self._outer and _told.is_on():
            _told.add(BOX, self._start_ns, end_ns, ((self._id,), ()))
        self._start_ns = 0


class RequestIds:
    """ASGI middleware (FastAPI, Starlette): `app.add_middleware(RequestIds)`, or around any app.

    Spans below it belong to the request whose id is in its header x-request-id.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        found = dict(scope.get("headers") or ()).get(HEADER.encode())
        if scope["type"] != "http" or not found:
            await self._app(scope, receive, send)
            return
        with request(found.decode("latin-1")) as current:

            async def receiving() -> Message:
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body"):
                    current.received(time.monotonic_ns())
                return message

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    current.answered(time.monotonic_ns())
                await send(message)

            await self._app(scope, receiving, sending)


def folder() -> str:
    """Return the folder below which each run makes one for itself."""
    own = f"visiontax-spans-{os.getuid()}"
    return os.environ.get(FOLDER) or os.path.join(_TEMPORARY, own)


def is_safe(path: str) -> bool:
    """Whether nobody but us, or who was named in the environment, can have made the folder."""
    return bool(os.environ.get(FOLDER)) or os.lstat(path).st_uid == os.getuid()


_TEMPORARY = tempfile.gettempdir()

_NOBODY: Whose = ((), ())


class _Told:
    """What this process has to say, and to which runs."""

    def __init__(self) -> None:
        self.begin()
        self.look_at = 0.0
        atexit.register(self.write)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Have nothing to say yet: a forked child leaves it to its parent."""
        self.runs: list[str] = []
        self.look_at = 0.0
        self._waiting: deque[tuple[str, int, int, int, Whose]] = deque(maxlen=_MOST_WAITING)
        self._lost: set[str] = set()
        self._where = ""
        self._writer: threading.Thread | None = None
        self._starting, self._writing = threading.Lock(), threading.Lock()

    def add(self, stage: str, start_ns: int, end_ns: int, whose: Whose) -> None:
        """Keep a span until it is written."""
        self._waiting.append((stage, start_ns, end_ns, threading.get_native_id(), whose))

    def is_on(self) -> bool:
        """Whether a run wants to know."""
        if time.monotonic() >= self.look_at:
            self.look()
        return bool(self.runs)

    def look(self) -> None:
        """See which runs go on, and have a thread that writes while there are any."""
        self.look_at = time.monotonic() + LOOK_S
        self.runs = [path for path in _runs() if path not in self._lost]
        if self.runs and self._writer is None:
            with self._starting:
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write_on, daemon=True)
                    self._writer.start()

    def _write_on(self) -> None:
        while self.runs:
            time.sleep(WRITE_S)
            self.write()
            self.look()
        self._writer = None

    def write(self) -> None:
        """Append what waits to each run's file of this process."""
        with self._writing:
            lines = list(self._lines())
            data = "".join(lines).encode()
            for run in self.runs if lines else ():
                if not _append(os.path.join(run, f"spans-{os.getpid()}.jsonl"), data):
                    self._lost.add(run)  # its last line may be cut off: none may come after it

    def _lines(self) -> Iterator[str]:
        self._where = self._where or _name()
        while self._waiting:
            stage, start_ns, end_ns, thread, (ids, waiting) = self._waiting.popleft()
            line = {"stage": stage, "start_ns": start_ns, "end_ns": end_ns, "where": self._where}
            line.update(ids=ids, waiting=waiting, pid=os.getpid(), thread=thread)
            yield json.dumps(line, default=str) + "\n"


def _runs() -> list[str]:
    """The folders of the runs that go on."""
    try:
        with os.scandir(folder()) as entries:
            alive = time.time() - STALE_S
            found = [each.path for each in entries if each.stat().st_mtime > alive]
        return found if is_safe(folder()) else []
    except OSError:
        return []


def _append(path: str, data: bytes) -> bool:
    """Whether all of it was written, or the run is over."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o644)
    except OSError:
        return True
    try:
        return os.write(file, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(file)


def _name() -> str:
    """The name of Triton's model that this process serves, else of the program."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
    except OSError:
        words = [""]
    if os.path.basename(words[0]) == "triton_python_backend_stub":
        model = os.path.basename(os.path.dirname(os.path.dirname(words[1])))
        instances = [re.fullmatch(r"(.+?)_\d+_(gpu)?\d+", word) for word in words[2:]]
        named = [each[1] for each in instances if each]
        return model if model in named or not named else named[0]  # Triton may serve a copy
    program = (getattr(sys, "argv", None) or words)[0]
    if os.path.basename(program) == "__main__.py":  # python -m
        program = os.path.dirname(program)
    return os.path.splitext(os.path.basename(program))[0] or "server"


def _whose(given: Any, frame: FrameType) -> Whose:
    """Whose work it is that the frame is about to do."""
    if given is not None:
        several = given if isinstance(given, (list, tuple, set, frozenset)) else [given]
        return _ids(several), ()
    current = _request_id.get("")
    return ((current,), ()) if current else _searched(frame)


def _ids(requests: Any) -> tuple[str, ...]:
    ids = [each if isinstance(each, str) else str(each.request_id()) for each in requests]
    return tuple(filter(None, ids))


def _searched(start: FrameType) -> Whose:
    """What the local variables of the frame and of its callers say.

    The outermost list of Triton's requests is the batch. The innermost variable counts that holds
    one of them, or some; else all of the batch share the work.
    """
    candidates: list[Any] = []
    batch: list[Any] | tuple[Any, ...] = ()
    for frame, variables in _frames(start):
        lists = []
        for name, value in variables.items():
            kind = _kind(type(value))
            if kind == _LIST and value and _kind(type(value[0])) == _REQUEST:
                if _holds(frame, name):
                    lists.append(value)
            elif kind == _REQUEST:
                if _holds(frame, name):
                    candidates.append([value])
            elif kind == _HEADERS and not batch and _holds(frame, name):
                found = value.headers.get(HEADER)
                if found and isinstance(found, str):
                    return (found,), ()
        candidates += sorted(lists, key=len)
        batch = lists[0] if lists else batch  # parameters come first
    everyone = _ids(batch)
    members = {id(each) for each in batch}
    for each in candidates:
        ids = _ids(each)
        if ids and (not batch or members.issuperset(map(id, each))):
            return ids, tuple(other for other in everyone if other not in ids)
    return everyone, ()


def _frames(frame: FrameType | None) -> Iterator[tuple[FrameType, Mapping[str, Any]]]:
    """The frame and its callers, with the local variables of each; modules have none."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        variables = frame.f_locals  # each look makes a copy
        if variables is not frame.f_globals:
            yield frame, variables
        frame = frame.f_back


_REQUEST, _LIST, _HEADERS = 1, 2, 3
_kinds: dict[type, int] = {list: _LIST, tuple: _LIST}


def _kind(of: type) -> int:
    """What a variable of the type may tell; types are asked, as objects may answer anything."""
    kind = _kinds.get(of)
    if kind is None:
        is_request = callable(getattr(of, "request_id", None))
        kind = _REQUEST if is_request else _HEADERS if hasattr(of, "headers") else 0
        _kinds[of] = kind
    return kind


def _holds(frame: FrameType, name: str) -> bool:
    """Whether the variable is of now: one that a loop assigns, is left over after the loop."""
    loops = _loops(frame.f_code).get(name, ())
    return not loops or any(first <= frame.f_lasti <= last for first, last in loops)


_known: dict[int, tuple[CodeType, Loops]] = {}


def _loops(code: CodeType) -> Loops:
    """The innermost loops, from byte to byte of the code, that assign each variable."""
    known = _known.get(id(code))  # its hash would be one of all its bytes
    if known is not None:
        return known[1]
    steps = list(dis.get_instructions(code))
    jumps = {*dis.hasjrel, *dis.hasjabs}
    loops: dict[int, int] = {}
    for step in steps:
        if step.opcode in jumps and step.argval < step.offset:
            loops[step.argval] = max(step.offset, loops.get(step.argval, 0))
    found: Loops = {}
    for step in steps:
        inside = [each for each in loops.items() if each[0] <= step.offset <= each[1]]
        for name in _assigned(step) if inside else ():
            found.setdefault(name, []).append(min(inside, key=lambda each: each[1] - each[0]))
    _known[id(code)] = (code, found)
    return found


def _assigned(step: dis.Instruction) -> tuple[str, ...]:
    """The variables that an instruction assigns; some of Python 3.13 do two things."""
    if not step.opname.startswith(("STORE_FAST", "STORE_DEREF")):
        return ()
    names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
    return tuple(names[:1] if step.opname == "STORE_FAST_LOAD_FAST" else names)


_told = _Told()
