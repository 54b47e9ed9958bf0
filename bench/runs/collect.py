"""Brings what load generators on other hosts recorded into the run that they are of: copied,
verified, and put on the run's clock. Again, it brings only what is new.
"""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from bench.ledger.sources import clocks
from bench.record import hosts, records, trace
from bench.record.files import read_lines
from bench.record.hosts import HOSTS, Round
from bench.record.manifest import Manifest, Placed, read_manifest, write_manifest
from bench.record.records import CROWD, Crowd, Sample
from pipelines import processes
from pipelines.errors import ResultsError
from pipelines.processes import Child

TICK_S, SAY_S = 0.2, 5.0
_REMOTE = re.compile(r"((?!-)[^/\s:]+|(?:[^/\s@]+@)?\[[0-9A-Fa-f:.%\w]+\]):(.*)")
"""As scp has it: a colon before any slash."""

_TAG = re.compile("[0-9a-f]{8}")
_KEPT = re.compile(r"(requests|rounds|samples)-[0-9a-f]{8}_\d+\.jsonl|crowd-\d+\.jsonl|host\.json")


class Collected(NamedTuple):
    """One host's records: from which source, of which tag; `fresh` where they were not there."""

    source: str
    tag: str
    placed: Placed
    fresh: bool


def collect(run: Path, sources: Sequence[str]) -> Iterator[Collected]:
    """Yield what was collected, each once it is in the run.

    A source is HOST:FOLDER, asked by scp, or a folder: the workers' `--results`, or the run's own
    in it. Those in the run itself, on a shared disk, need no source.
    Raises ResultsError where a source cannot be reached or has nothing of the run, or what it has
    is damaged: then nothing of that source is in the run.
    """
    name = read_manifest(run).run
    within = run / f"collecting-{processes.owner()}"
    origin: dict[str, str] = {}
    fresh: set[str] = set()
    for source in sources:
        try:
            within.mkdir()
            for folder in _copied(source, run, name, into=within / HOSTS):
                origin[folder.name] = source
                if _move(folder, run / HOSTS / folder.name):
                    fresh.add(folder.name)
        finally:
            shutil.rmtree(within, ignore_errors=True)
    there = sorted(path for path in run.glob(f"{HOSTS}/*") if _TAG.fullmatch(path.name))
    if not there:
        raise ResultsError(
            f"there is nothing to collect in {run}",
            hint="say where the workers recorded: HOST:FOLDER or FOLDER, their --results",
        )
    for folder in there:
        manifest, tag = read_manifest(run), folder.name
        placed = manifest.hosts.get(tag)
        is_new = placed is None or tag in fresh
        if placed is None or is_new:
            if tag not in origin:
                _verify(folder, name, source=str(run))
            placed = manifest.hosts[tag] = _place(folder, run, manifest)
            write_manifest(run, manifest)
        if is_new or tag in origin or not sources:
            yield Collected(origin.get(tag, str(run)), tag, placed, is_new)


def _copied(source: str, run: Path, name: str, *, into: Path) -> list[Path]:
    """Copy the hosts' folders of the run, which was made under that name, and return them,
    verified; none where they lie in the run.
    """
    remote = _REMOTE.fullmatch(source)
    at = Path(remote[2] if remote else source)
    at = (at if at.name == name else at / name) / HOSTS
    absent = ResultsError(
        f"{source} has no records of {name}",
        hint="name the folder that is --results of the workers there",
    )
    if remote:
        _by_scp(remote[1], at, into, absent=absent)
    elif not at.is_dir():
        raise absent
    elif at.resolve() == (run / HOSTS).resolve():
        return []
    else:
        shutil.copytree(at, into, ignore=_others)
    found = sorted(path for path in into.iterdir() if _TAG.fullmatch(path.name))
    if not found:
        raise absent
    for folder in found:
        _verify(folder, name, source=source)
    return found


def _others(_: str, names: list[str]) -> list[str]:
    """What is none of a host's files."""
    return [name for name in names if not (_TAG.fullmatch(name) or _KEPT.fullmatch(name))]


def _by_scp(host: str, at: Path, into: Path, *, absent: ResultsError) -> None:
    if not shutil.which("scp"):
        raise ResultsError("scp is not installed", hint="apt install openssh-client")
    log, since = into.with_suffix(".log"), time.monotonic()
    click.echo(f"copying from {host} ...", err=True)
    with Child("scp", ["scp", "-rB", "--", f"{host}:{at}", str(into)], log=log) as copying:
        while copying.alive:
            copying.wait(TICK_S)
            if time.monotonic() - since > SAY_S:
                since = time.monotonic()
                size = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
                click.echo(f"copying from {host}: {size / 1e6:.0f} MB so far", err=True)
    if copying.process.returncode:
        said = copying.lines()
        if "No such file" in said[-1]:
            raise absent
        why = [line.strip() for line in said if line != "scp: Connection closed"] or said
        raise ResultsError(
            f"cannot copy from {host}: {why[-1]}",
            hint=f"'ssh {host} true' must work, and ask nothing; ~/.ssh/config has ports and keys",
        )


def _verify(folder: Path, run: str, *, source: str) -> None:
    """Read all of it once. Raises ResultsError when it is damaged, or of another run."""
    try:
        host = hosts.read_host(folder)
        if (host.run, host.tag) != (run, folder.name):
            raise ResultsError(f"{folder.name} is of another run or host: {host.run}, {host.tag}")
        for _ in records.read_requests(folder):
            pass
        _rounds(folder)
        _samples(folder)
        records.read_crowds(folder)
    except ResultsError as error:
        raise ResultsError(
            f"{source}: {error}", hint=error.hint or "copy it again, or leave this host out"
        ) from error


def _move(folder: Path, to: Path) -> bool:
    """Move the files into the run, and say whether any is new there. Files only grow: of two the
    longer one has all.
    """
    to.mkdir(parents=True, exist_ok=True)
    is_new = False
    for path in sorted(folder.iterdir()):
        there = to / path.name
        size = there.stat().st_size if there.exists() else -1
        if _KEPT.fullmatch(path.name) and path.stat().st_size > size:
            path.replace(there)
            is_new = True
    return is_new


def _place(folder: Path, run: Path, manifest: Manifest) -> Placed:
    """Write the host's records once more, into the run and by its clock."""
    host, settings = hosts.read_host(folder), manifest.settings
    by = clocks.NONE
    if not hosts.same_clock(host.clock, manifest.clock):
        if settings.brokered:
            raise ResultsError(
                "the messages of a broker have times of both hosts' clocks, which cannot be told "
                "apart",
                hint="run the load of such a chain on the host of its workers",
            )
        by = _difference(folder, run, manifest)
    counted: dict[str, Sequence[Sample | Crowd]]
    requests = 0
    with _written(run / f"requests-{host.tag}.jsonl") as lines:
        for one in records.read_requests(folder):
            lines.append(clocks.moved(one, by, of=settings))
            requests += 1
    counted = {
        f"samples-{host.tag}.jsonl": _samples(folder),
        **{
            CROWD.replace("*", f"{host.tag}-{number}"): crowd
            for number, crowd in enumerate(records.read_crowds(folder))
        },
    }
    for name, taken in counted.items():
        with _written(run / name) as lines:
            for each in taken:
                ahead_ns = by.at(each.time_ns)
                lines.append(msgspec.structs.replace(each, time_ns=each.time_ns + ahead_ns))
    return Placed(
        processes=len(records.request_files(folder)),
        requests=requests,
        ahead_ns=by.at(by.since_ns),
        bound_ns=by.bound_ns,
    )


def _difference(folder: Path, run: Path, manifest: Manifest) -> clocks.Difference:
    found = clocks.exchanges(
        _rounds(folder), records.read_requests(folder), trace.read(run), of=manifest.settings
    )
    if not len(found):
        raise ResultsError(
            f"{folder} does not say what its clock is against the run's",
            hint="its workers had no answer from the master, and the server no trace: run it again",
        )
    by = clocks.difference(found)
    if by.contradicted_ns:
        raise ResultsError(
            f"the clocks of the master and of the server are not one: {by.contradicted_ns / 1e9:g} "
            "s lie between them",
            hint="run the master on the server's host",
        )
    return by


class _Lines:
    """Appends things as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self._file, self._encoder = path.open("wb"), msgspec.json.Encoder()

    def append(self, thing: msgspec.Struct) -> None:
        self._file.write(self._encoder.encode(thing) + b"\n")

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[_Lines]:
    """Yield what takes the lines of a file that is then there as a whole, or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with contextlib.closing(_Lines(partial)) as lines:
            yield lines
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _rounds(folder: Path) -> list[Round]:
    return [one for path in folder.glob("rounds-*.jsonl") for one in read_lines(path, Round)]


def _samples(folder: Path) -> list[Sample]:
    return [one for path in folder.glob("samples-*.jsonl") for one in read_lines(path, Sample)]
