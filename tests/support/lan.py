"""Two hosts on this machine: network namespaces with a slow link between them, of which the second
one has a monotonic clock of its own. Linux may lack netem, so the link is a program: it passes on
each packet once its time has come.

As a program: NAME NAME SECONDS, the two devices to make, and how long a packet takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MTU = 60_000
"""So large that an image is one packet, and its way takes the link's time once."""

AHEAD_S = 98_765
"""How far the second host's clock is ahead of the first one's."""

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
_TUN, _IFF_TUN, _IFF_NO_PI, _TUNSETIFF = "/dev/net/tun", 0x0001, 0x1000, 0x400454CA


@dataclass(frozen=True)
class Host:
    """One of the two: what is run there begins with `within`."""

    address: str
    within: tuple[str, ...]


def possible() -> bool:
    """Whether this user may make such hosts."""
    if os.geteuid() or not Path(_TUN).exists() or not shutil.which("ip"):
        return False
    tried = ("unshare", "--net", "--time", "--mount", "true")
    return subprocess.run(tried, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def lan(*, delay_s: float) -> Iterator[tuple[Host, Host]]:
    """Yield a host for the server and one for the client; a packet takes so long either way."""
    from processes import PYTHON, started, until

    name = f"vtx{os.getpid()}"
    names = [f"{name}a", f"{name}b"]
    hosts = (
        Host(SERVER, ("ip", "netns", "exec", names[0])),
        Host(
            CLIENT,
            (
                *("ip", "netns", "exec", names[1], "unshare", "--time", "--fork"),
                *("--kill-child=TERM", "--monotonic", str(AHEAD_S)),
            ),
        ),
    )
    log = Path(f"/tmp/{name}.log")
    try:
        for each in names:
            _ip("netns", "add", each)
        with started((PYTHON, __file__), *names, delay_s, log=log) as link:
            until(lambda: "ready" in log.read_text() or link.poll(), "the link")
            for host, each in zip(hosts, names, strict=True):
                _ip("link", "set", each, "netns", each)
                inside = ("-n", each)
                _ip(*inside, "addr", "add", f"{host.address}/24", "dev", each)
                for device in ("lo", each):
                    _ip(*inside, "link", "set", device, "up")
                _ip(*inside, "link", "set", each, "mtu", str(MTU))
            yield hosts
    finally:
        for each in names:
            subprocess.run(["ip", "netns", "del", each], check=False, capture_output=True)
        log.unlink(missing_ok=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _device(name: str) -> int:
    file = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return file


def _pass_on(one: int, other: int, *, delay_s: float) -> None:
    """Pass on what comes, both ways, after the delay; packets that a device refuses are lost."""
    ways = {one: (other, deque[tuple[float, bytes]]()), other: (one, deque[tuple[float, bytes]]())}
    while True:
        due = [queue[0][0] for _, queue in ways.values() if queue]
        left_s = max(0.0, min(due) - time.monotonic()) if due else None
        for file in select.select([*ways], [], [], left_s)[0]:
            with contextlib.suppress(BlockingIOError):
                while packet := os.read(file, 1 << 16):
                    ways[file][1].append((time.monotonic() + delay_s, packet))
        for to, queue in ways.values():
            while queue and queue[0][0] <= time.monotonic():
                with contextlib.suppress(OSError):
                    os.write(to, queue.popleft()[1])


if __name__ == "__main__":
    _one, _other, _delay_s = sys.argv[1:]
    _files = _device(_one), _device(_other)
    print("ready", flush=True)
    _pass_on(*_files, delay_s=float(_delay_s))
