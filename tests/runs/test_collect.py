"""A load from another host: its records become a part of the run, and the way between the hosts is
found although they share no clock.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from lan import AHEAD_S, Host, lan
from need import need
from processes import BENCH, LOCUST, bench, ended, refused, run, started, until, write_program

from bench.ledger.reading import read, summary_of
from bench.ledger.sources import clocks
from bench.record import hosts, records, trace
from bench.record.manifest import read_manifest, write_manifest
from pipelines.spans import Request

DELAY_S = 0.12
ENOUGH = 300
"""Requests, of which more than 50 count."""
AMISS = {"MISSING", "CLOCK", "CLOCK_STEP", "NO_TRACE", "UNJOINED", "LITTLE", "ERRORS", "SPANS"}
"""What would say that the records do not go together."""


class Made(NamedTuple):
    """A run of a master on one host, whose worker on the other recorded in `theirs`.

    Who begins with `within` is on the master's host, and reaches the other as `other` by ssh.
    """

    run: Path
    theirs: Path
    within: tuple[str, ...]

    def copy(self, to: Path) -> Path:
        """A copy of the run, of the same name."""
        return Path(shutil.copytree(self.run, to / self.run.name))


@pytest.fixture(scope="module")
def made(triton_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The load of one host on the server of another, and the first one's sshd."""
    del triton_parts
    need("namespaces", "sshd")
    folder = tmp_path_factory.mktemp("hosts")
    with lan(delay_s=DELAY_S) as (here, there):
        port = 8000
        serve = (*here.within, *BENCH, "serve", "classification", "--listen", "0.0.0.0")
        load = ("--headless", "-u", 16, "-r", 16, "-t", "3m", "--images", "small")
        load = (*load, "--warmup", "0.5s", "--i-may-load-this-host")
        load = (*load, "--host", f"{here.address}:{port}")
        master = (*here.within, *LOCUST, "--master", "--expect-workers", "1")
        worker = (*there.within, *LOCUST, "--worker", "--master-host", here.address)
        logs = {name: folder / f"{name}.log" for name in ("serve", "worker", "master")}
        with started(serve, "--port", port, log=logs["serve"]) as served:
            until(lambda: "ready; stop" in logs["serve"].read_text() or served.poll(), "a server")
            with (
                started(worker, "--results", folder / "theirs", log=logs["worker"]) as one,
                started(master, *load, "--results", folder / "ours", log=logs["master"]) as two,
            ):
                until(lambda: lines_in(folder / "theirs") > ENOUGH or two.poll(), "requests")
                two.terminate()
                assert (ended(one), ended(two)) == (0, 0), [
                    log.read_text() for log in logs.values()
                ]
        with _ssh(there, folder / "ssh") as programs:
            within = (*here.within, "env", f"PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin")
            (made,) = (folder / "ours").iterdir()
            yield Made(made, folder / "theirs", within)


def lines_in(folder: Path) -> int:
    """How many requests are on record there."""
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("requests-*"))


@contextlib.contextmanager
def _ssh(host: Host, folder: Path) -> Iterator[Path]:
    """An sshd on the host; the folder of an scp whose settings know it by the name `other`."""
    folder.mkdir()
    for key in ("host", "user"):
        run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key))
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "ListenAddress": f"{host.address}:22",
        "Subsystem": "sftp internal-sftp",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    settings = {
        "HostName": host.address,
        "IdentityFile": folder / "user",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    lines = [f"  {name} {value}" for name, value in settings.items()]
    (folder / "config").write_text("\n".join(["Host other", *lines, ""]))
    write_program(folder / "bin" / "scp", f'exec /usr/bin/scp -F {folder / "config"} "$@"')
    command = (*host.within, "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *words)
    with started(command, log=folder / "log") as daemon:
        log = folder / "log"
        until(lambda: "listening" in log.read_text() or daemon.poll() is not None, "an sshd")
        assert daemon.poll() is None, log.read_text()
        yield folder / "bin"


def residence_ns(folder: Path) -> dict[str, int]:
    """By its id how long the server had each request, by the server's own clock."""
    served = trace.read(folder)
    served = served[(served["parent"] == 0) & (served["HTTP_SEND_START"] > 0)]
    spent = served["HTTP_SEND_START"] - served["REQUEST_START"]
    return dict(zip(served["request"], spent, strict=True))


def asked(folder: Path) -> list[Request]:
    """The requests in the folder, by their ids."""
    return sorted(records.read_requests(folder), key=lambda one: one.id)


def test_a_slow_link_is_found_although_no_clock_is_shared(made: Made, tmp_path: Path) -> None:
    folder = made.copy(tmp_path)
    before = summary_of(folder)
    assert {"MISSING"} <= {issue.code for issue in before.issues if issue.invalid}
    refused("collect", folder, code=1, words=["there is nothing to collect in", "hint: say where"])

    done = run((*made.within, *BENCH), "collect", folder, f"other:{made.theirs}")
    assert done.returncode == 0, done.stderr
    assert f"other:{made.theirs}, host " in done.stdout
    assert "1 generator, " in done.stdout
    (placed,) = read_manifest(folder).hosts.values()
    assert placed
    assert f"clock moved by {placed.ahead_ns / 1e9:+,.6f} s" in done.stdout
    summary = summary_of(folder)
    assert not {issue.code for issue in summary.issues} & AMISS, summary.issues
    assert summary.requests > 50
    assert summary.generator_cpu_share
    ledger, start_ns = read(folder).ledger, read_manifest(folder).window_start_ns
    ledger = ledger.select(ledger.joined & (ledger.due_ns >= start_ns))
    assert len(ledger.due_ns) > 50
    send, receive = map(ledger.time_of, ("send", "receive"))
    way = send + receive
    assert way.min() >= 2e9 * DELAY_S
    assert "send and receive are exact together" in bench("report", folder).stdout
    # What the other host recorded, by its own clock, says the same without the server's.
    spent = residence_ns(folder)
    (theirs,) = (folder / hosts.HOSTS).iterdir()
    ways = zip(send.tolist(), receive.tolist(), strict=True)
    by_due, compared = dict(zip(ledger.due_ns.tolist(), ways, strict=True)), 0
    for raw, moved in zip(asked(theirs), asked(folder), strict=True):
        (call,) = raw.calls
        off_ns = moved.due_ns - raw.due_ns + AHEAD_S * 10**9
        assert abs(off_ns) < placed.bound_ns / 10  # both ways are alike
        if moved.id in spent and moved.due_ns in by_due:
            there, back = by_due[moved.due_ns]
            assert there + back == call.received_ns - call.sent_ns - spent[moved.id]
            assert min(there + off_ns, back - off_ns) >= 1e9 * DELAY_S
            compared += 1
        assert raw.end_ns - raw.due_ns == moved.end_ns - moved.due_ns
    assert compared > 50


def test_collecting_again_changes_nothing(made: Made, tmp_path: Path) -> None:
    """From a folder this time, as of a disk that both have, and then in the run itself."""
    folder = made.copy(tmp_path)

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    first = bench("collect", folder, made.theirs)
    held = files()
    again = bench("collect", folder, made.theirs / folder.name)
    assert (
        again.stdout.replace("already collected: ", "").splitlines()[0].split(", host ")[1]
        == (first.stdout.splitlines()[0].split(", host ")[1])
    )
    assert "already collected" in again.stdout
    assert "already collected" in bench("collect", folder).stdout
    assert files() == held
    manifest = read_manifest(folder)
    manifest.hosts = dict.fromkeys(manifest.hosts)
    write_manifest(folder, manifest)  # as if it had been cut off before its end
    assert "already" not in bench("collect", folder).stdout
    assert files() == held


def test_what_cannot_be_collected_is_said_and_leaves_the_run_alone(
    made: Made, tmp_path: Path
) -> None:
    folder = made.copy(tmp_path)
    held = sorted(folder.rglob("*"))
    refused("collect", folder, tmp_path / "x", code=1, words="has no records of")
    refused("collect", tmp_path / "x", code=1, words="there is no folder")
    refused(
        "collect", folder, "nowhere.invalid:/x", code=1, words=["nowhere.invalid: ssh:", "hint"]
    )
    at_b = (*made.within, *BENCH)
    done = run(at_b, "collect", folder, f"other:{tmp_path}/nothing")
    assert (done.returncode, "has no records of" in done.stderr) == (1, True), done.stderr
    damaged = Path(shutil.copytree(made.theirs, tmp_path / "damaged"))
    (path,) = damaged.rglob("requests-*")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4][:50] + b"\n", *lines[5:]]))
    refused("collect", folder, damaged, code=1, words=[f"{damaged}: ", "line 5 is damaged"])
    assert sorted(folder.rglob("*")) == held


def test_an_interrupted_collection_leaves_the_run_as_it_was(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.copy(tmp_path)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clocks, "moved", interrupt)
        assert bench("collect", folder, made.theirs).returncode == 130
    assert list(records.read_requests(folder)) == []
    assert list(read_manifest(folder).hosts.values()) == [None]
    assert not [path for path in folder.iterdir() if "partial" in path.name]
    assert bench("collect", folder).returncode == 0  # what was copied is there
    assert summary_of(folder).requests > 50


def test_records_by_the_clock_of_the_run_stay_as_they_are(made: Made, tmp_path: Path) -> None:
    """As of another container of the same host."""
    folder = made.copy(tmp_path)
    theirs = Path(shutil.copytree(made.theirs, tmp_path / "theirs"))
    (path,) = theirs.rglob(hosts.HOST)
    host = hosts.read_host(path.parent)
    host.clock = read_manifest(folder).clock
    path.write_bytes(msgspec.json.encode(host))
    assert "on the run's clock" in bench("collect", folder, theirs).stdout
    assert asked(folder) == asked(path.parent)


def test_a_worker_without_the_runs_disk_records_in_a_folder_of_its_own(tmp_path: Path) -> None:
    here = hosts.clock()
    (tmp_path / "ours" / "run").mkdir(parents=True)
    run, results = tmp_path / "ours" / "run", tmp_path / "theirs"
    assert hosts.folder_of(run, here, results=results) == run
    own = hosts.folder_of(Path("/nowhere/run"), here, results=results)
    assert own == results / "run" / hosts.HOSTS / hosts.tag()
    assert hosts.read_host(own).run == "run"
    elsewhere = here | {"boot_id": "another"}
    assert hosts.folder_of(run, elsewhere, results=results) == own


def test_a_broker_between_the_hosts_is_refused(made: Made, tmp_path: Path) -> None:
    folder = made.copy(tmp_path)
    manifest = read_manifest(folder)
    manifest.settings = msgspec.structs.replace(manifest.settings, topology="redis-streams")
    write_manifest(folder, manifest)
    refused("collect", folder, made.theirs, code=1, words="the messages of a broker have times of")


def test_clocks_that_drift_are_told_apart_within_half_a_way() -> None:
    """A minute at 50 millionths, ways of 0.2 ms and more, of which most wait much longer."""
    random = np.random.default_rng(3)
    sent = np.sort(random.integers(0, 60_000_000_000, 3000))
    ahead = 7_000_000_000_000_000_123 + (sent * 50e-6).astype(np.int64)
    there, back = 200_000 + random.exponential(3e6, (2, len(sent))).astype(np.int64)
    took = random.integers(1_000_000, 9_000_000, len(sent))
    heard = sent + there + ahead
    exchanges = np.stack([sent, heard, heard + took, sent + there + took + back], axis=1)
    found = clocks.difference(exchanges)
    missed = np.array([found.at(int(at)) for at in sent]) - ahead
    assert np.abs(missed).max() < found.bound_ns < 500_000
    assert found.contradicted_ns == 0
    exchanges[::2, 1:3] += 1_000_000_000  # two clocks answer
    assert clocks.difference(exchanges).contradicted_ns > 900_000_000
