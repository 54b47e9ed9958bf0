"""Kills a process of a real run at a random moment; run as a program: `kills.py TIMES SEED FOLDER`.

Whatever is killed, and whenever: what was recorded is there and can be reported, and nothing stays
behind.
"""

import contextlib
import os
import random
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
from processes import BENCH, ROOT, bench, environment

from bench.ledger import reading
from bench.record import records
from bench.record.manifest import MANIFEST, read_manifest
from pipelines import processes
from pipelines.errors import ResultsError
from pipelines.processes import Child
from pipelines.spans import Request

MARK = "VISIONTAX_KILLS"
MEASURED_S = 4
LASTS_S = 10.0
"""About how long a run lasts once the process to be killed is there."""

GONE_WITHIN_S, ENDED_WITHIN_S = 10.0, 100.0
LOST_S, LOST_TRACES = 1.0, 50
FORMATS = ("text", "json", "html", "md")

ONE = ("classification", "--images", "small")
SHARED = (*ONE, "--transport", "shm")
CHAIN = ("faces", "--images", "faces-1", "--topology", "redis-streams")
KAFKA = (*CHAIN[:3], "--topology", "kafka")
VICTIMS: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
    "bench": (r"-m bench run", (ONE, SHARED, CHAIN)),
    "generator": (r"-m locust", (ONE, SHARED, CHAIN)),
    "server": (r"guard\.py|^\S*tritonserver ", (ONE, CHAIN)),
    "stub": (r"triton_python_backend_stub", (ONE,)),
    "monitor": (r"bench\.generator\.watching\.monitor", (ONE,)),
    "worker": (r"pipelines\.worker", (CHAIN,)),
    "broker": (r"redis-server|kafka\.Kafka", (CHAIN, CHAIN, CHAIN, KAFKA)),
}
"""What a victim's command line matches, and in which runs it is killed."""


@dataclass
class Round:
    """One run and what became of it; `faults` is what should not have. It may have missed."""

    victim: str
    hit: bool = False
    after_s: float = 0.0
    code: int | None = None
    said: str = ""
    requests: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = "; ".join(self.faults) or ("held" if self.hit else "it had ended before")
        return (
            f"{self.victim:9} after {self.after_s:4.1f} s, exit {self.code}, "
            f"{self.requests:4} requests: {told}"
        )


class Family:
    """All processes of a run, also those whose parent has gone.

    They are told by a variable of their environment; Redis overwrites that, and is met as a child.
    """

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        self._mark, self._met = uuid.uuid4().hex, set[psutil.Process]()
        marked = environment() | {MARK: self._mark}
        self.head = Child("the run", command, log=log, folder=ROOT, environment=marked).process

    def living(self, pattern: str = "") -> list[psutil.Process]:
        """Those whose command line matches."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get(MARK) == self._mark
                if ours or psutil.Process(process.ppid()) in self._met:
                    self._met.add(process)
        return [process for process in self._met if _matches(process, pattern)]

    @property
    def owners(self) -> set[str]:
        """The tags of what they own."""
        return {processes.owner(process.pid) for process in self._met}


def _matches(process: psutil.Process, pattern: str) -> bool:
    try:
        words = process.cmdline()
        there = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
    return there and words[:1] != ["setpriv"] and bool(re.search(pattern, " ".join(words)))


def killed(
    victim: str, chance: random.Random, folder: Path, *, gone_within_s: float = GONE_WITHIN_S
) -> Round:
    """Make a run, kill one such process at some moment, and look at what is left."""
    pattern, pipelines = VICTIMS[victim]
    here, log = Round(victim), folder / "log"
    folder.mkdir(parents=True)
    command = [*BENCH, "run", *chance.choice(pipelines), "--results", str(folder / "results")]
    command += ["--duration", f"{MEASURED_S}s", "--warmup", "0.5s", "--users", "2"]
    family = Family(command, log=log)
    _until(lambda: family.living(pattern), within_s=60)
    here.after_s = chance.uniform(0, LASTS_S)
    until_s = time.monotonic() + here.after_s
    while time.monotonic() < until_s and family.head.poll() is None:
        time.sleep(0.05)
    targets = family.living(pattern)
    killed_ns = time.monotonic_ns()
    with contextlib.suppress(IndexError, psutil.NoSuchProcess):
        chance.choice(targets).kill()
        here.hit = True
    try:
        here.code = family.head.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        here.faults.append(f"bench goes on after {ENDED_WITHIN_S:.0f} s")
    if not _until(lambda: not family.living(), within_s=gone_within_s):
        for each in family.living():
            here.faults.append(f"still running: {' '.join(each.cmdline())}")
            each.kill()
    here.said = log.read_text(errors="replace")
    if "Traceback" in here.said:
        here.faults.append("traceback")
    if len(re.findall("^error: ", here.said, re.MULTILINE)) > 1:
        here.faults.append("several errors")
    if left := [name for name in os.listdir("/dev/shm") if family.owners & {*name.split("-")}]:
        here.faults.append(f"in /dev/shm: {left}")
    for made in sorted((folder / "results").glob("*")):
        _look(here, made, killed_ns=killed_ns)
    return here


def _look(here: Round, made: Path, *, killed_ns: int) -> None:
    """Report the run, and see what of it is missing."""
    for shape in FORMATS:
        done = bench("report", made, "--format", shape)
        if "Traceback" in done.stderr or done.returncode not in (0, 1, 4):
            here.faults.append(f"report --format {shape}: {done.returncode} {done.stderr[-300:]}")
        if done.returncode == 1 and (made / MANIFEST).exists():
            here.faults.append(f"report --format {shape}: {done.stderr.strip()}")
    try:
        manifest = read_manifest(made)
    except ResultsError:
        return  # it had not begun
    requests = list(records.read_requests(made))
    here.requests = len(requests)
    server = manifest.settings.server
    if server and not processes.is_free(int(server.rpartition(":")[2])):
        here.faults.append(f"port in use: {server}")
    if requests and here.victim == "generator" and manifest.window_end_ns is None:
        lost_s = (killed_ns - max(one.end_ns for one in requests)) / 1e9
        if lost_s > LOST_S + _longest_s(requests):
            here.faults.append(f"{lost_s:.2f} s of records lost")
    summary = reading.summary_of(made)
    cut_off = "UNFINISHED" in {issue.code for issue in summary.issues}
    if summary.valid and summary.duration_s < MEASURED_S / 2 and not cut_off:
        here.faults.append(f"called VALID after {summary.duration_s:.1f} s")
    if here.victim == "server":
        ledger = reading.read(made).ledger
        lost = int((~ledger.joined & (ledger.end_ns < killed_ns)).sum())
        if lost > LOST_TRACES:
            here.faults.append(f"the trace of {lost} requests lost")


def _longest_s(requests: Sequence[Request]) -> float:
    """The longest time in which no request ended: of slow ones fewer are recorded."""
    ends = sorted(one.end_ns for one in requests)
    return max((after - before for before, after in pairwise(ends)), default=0) / 1e9


def _until(true: Callable[[], object], *, within_s: float) -> object:
    until_s = time.monotonic() + within_s
    while not (found := true()) and time.monotonic() < until_s:
        time.sleep(0.05)
    return found


def main(times: int, seed: int, folder: Path, *victims: str) -> int:
    """Kill each of the victims so many times; how often something did not hold."""
    faulty = 0
    for number in range(times):
        for victim in victims or VICTIMS:
            chance = random.Random(f"{seed} {number} {victim}")
            done = killed(victim, chance, folder / f"{victim}-{number}")
            faulty += bool(done.faults)
            print(f"[{number + 1}/{times}] {done}", flush=True)
    print(f"{faulty} of {times * len(victims or VICTIMS)} did not hold")
    return faulty


if __name__ == "__main__":
    count, seed, folder, *victims = sys.argv[1:]
    sys.exit(bool(main(int(count), int(seed), Path(folder), *victims)))
