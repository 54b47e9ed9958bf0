"""Folders of results as a stranger may send them: whole ones, and what may be wrong with a file."""

import contextlib
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from attached_run import attached, counted
from experiments import MS, S, write_experiment, write_steady_run

from bench.record.foreign.statistics import write_snapshots
from bench.record.trace import EVENTS, KEYS

Damage = Callable[[random.Random, Path], None]

STAGES = {"decode": 30.0, "inference": 60.0}
TRACE_JSON = (
    b'[{"id":1,"model_name":"mobilenetv2","request_id":"r1","parent_id":0,"timestamps":'
    b'[{"name":"REQUEST_START","ns":1},{"name":"QUEUE_START","ns":2}]}]'
)
NUMBERS = (b"-1", b"0", b"1e400", b"1.5", b"9223372036854775808", b"-99999999999999999999")
ODD = (*NUMBERS, b"null", b"true", b'"x"', b"[]", b"{}", b'"\\ud800"', b"[[[[[[]]]]]]", b"NaN")


def run_folder(folder: Path) -> Path:
    """A run with every file that one may have."""
    write_steady_run(folder, STAGES, requests=20, preprocess="dali")
    _add(folder, times_ns=range(0, 2 * S, 100 * MS))
    return folder


def attached_folder(folder: Path) -> Path:
    """A run on a server that was attached to, with what only such a run has."""
    attached(folder, "trace", ids=["r1", "r2", "r3"], seen=["r1", "r2"])
    counts = [counted(at * 100 * MS, at, computing_ms=30) for at in (1, 2, 3)]
    write_snapshots(folder, counts)
    return folder


def experiment_folder(folder: Path) -> Path:
    """An experiment with every file that one may have."""
    write_experiment(folder, blocks=8)
    for side in "ab":
        _add(folder / side, times_ns=range(0, 2 * S, 100 * MS))
    return folder


def _add(folder: Path, *, times_ns: range) -> None:
    sample = (
        '{{"time_ns":{0},"role":"{1}","pid":7,"cpu_s":0.5,"memory_bytes":9,"listens":true,'
        '"steal_s":0.1,"unix_ns":{0}}}\n'
    )
    roles = ("machine", "generator", "server")
    lines = [sample.format(time_ns, role) for time_ns in times_ns for role in roles]
    (folder / "samples.jsonl").write_text("".join(lines))
    counted = '{{"time_ns":{0},"requests":1,"spent_ns":{0}}}\n'
    (folder / "crowd-7.jsonl").write_text("".join(map(counted.format, times_ns)))
    image = '{{"name":"{0}.jpg","format":"JPEG","width":{0}00,"height":900,"bytes":7}}\n'
    (folder / "images.jsonl").write_text("".join(map(image.format, (1, 12))))
    told = (
        '{{"stage":"{0}","start_ns":5,"end_ns":9,"where":"mobilenetv2","ids":["r1"],'
        '"waiting":["r2"],"pid":7,"thread":8}}\n'
    )
    (folder / "spans-7.jsonl").write_text("".join(map(told.format, ("decode", "request", "x"))))
    (folder / "turns.jsonl").write_text('{"time_ns":5,"running":true}\n')
    (folder / "apportion.json").write_text('{"decode":0.5,"resize":0.25,"normalize":0.25}')
    rows = [f"r{number},mobilenetv2,{number},0," + ",".join("7" * len(EVENTS)) for number in (1, 2)]
    (folder / "trace.csv").write_text("\n".join([",".join([*KEYS, *EVENTS]), *rows, ""]))


def empty(_: random.Random, path: Path) -> None:
    path.write_bytes(b"")


def cut(chance: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(1 + path.stat().st_size)])


def not_utf8(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data.insert(chance.randrange(1 + len(data)), 0xFF)
    path.write_bytes(bytes(data))


def noise(chance: random.Random, path: Path) -> None:
    path.write_bytes(chance.randbytes(300))


def a_byte(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes() or b"x")
    data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(bytes(data))


def a_value(chance: random.Random, path: Path) -> None:
    """Another value in the place of a number or a word, of JSON or CSV."""
    data = path.read_bytes()
    values = [*re.finditer(rb'-?\d[\d.e+]*|"[^"]*"(?!:)', data)]
    if values:
        one = chance.choice(values)
        path.write_bytes(data[: one.start()] + chance.choice(ODD) + data[one.end() :])


def a_name(chance: random.Random, path: Path) -> None:
    """Another name of a field."""
    data = path.read_bytes()
    names = [*re.finditer(rb'"(\w+)":', data)]
    if names:
        one = chance.choice(names)
        path.write_bytes(data[: one.start(1)] + b"other" + data[one.end(1) :])


def a_folder(_: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(_: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_device(_: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def gone(_: random.Random, path: Path) -> None:
    path.unlink()


def nested(_: random.Random, path: Path) -> None:
    path.write_bytes(b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n")


def raw_trace(chance: random.Random, path: Path) -> None:
    """Triton's own trace in place of the file, as of a run that was cut off, and damaged."""
    (path.parent / "trace.csv").unlink(missing_ok=True)
    raw = path.parent / "trace.json.0"
    raw.write_bytes(TRACE_JSON)
    chance.choice((empty, cut, not_utf8, noise, a_byte, a_value, a_name, a_folder, a_fifo))(
        chance, raw
    )


DAMAGES: tuple[Damage, ...] = (
    *(empty, cut, not_utf8, noise, a_byte, a_folder, a_fifo, a_device, gone, nested, raw_trace),
    *(a_value, a_value, a_value, a_name),
)


def files_of(folder: Path) -> list[Path]:
    """Its files, whatever they are, in order."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@contextlib.contextmanager
def damaged(whole: Path, folder: Path, chance: random.Random) -> Iterator[str]:
    """Damage a copy of the folder: what was done; afterwards it is removed."""
    shutil.copytree(whole, folder)
    path, damage = chance.choice(files_of(folder)), chance.choice(DAMAGES)
    damage(chance, path)
    yield f"{damage.__name__} of {path.relative_to(folder)}"
    shutil.rmtree(folder)
