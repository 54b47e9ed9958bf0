"""The limit of the cores, as a run: processes that decode and infer, without a server."""

import os
from pathlib import Path

import pytest
from processes import BENCH, refused, run

from bench.ledger.reading import summary_of
from bench.record.manifest import read_manifest
from bench.record.records import request_files

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("triton_parts")]

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize("users", [1, CORES + 3])
def test_a_process_a_core_asks_itself(tmp_path: Path, users: int) -> None:
    done = run(
        BENCH,
        *("run", "classification", "--images", "small", "--transport", "local"),
        *("--place", "client", "--users", users, "--duration", "1s", "--warmup", "300ms"),
        *("--results", tmp_path),
    )
    (folder,) = tmp_path.iterdir()
    asking = min(users, CORES)
    assert len(request_files(folder)) == asking, done.stderr
    assert read_manifest(folder).settings.users == asking
    told = summary_of(folder)
    assert told.errors == 0
    assert told.throughput_per_s > 0
    assert {"decode", "resize", "inference", "postprocess"} <= told.stages.keys()
    assert not {"send", "receive", "queue"} & told.stages.keys()
    assert "UNFINISHED" not in {issue.code for issue in told.issues}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "use --place client"),
        (("--place", "client", "--server", "127.0.0.1:8000"), "leave --server out"),
        (("--place", "client", "--rate", "5/s"), "leave --rate out"),
    ],
)
def test_it_is_no_load_of_a_server(given: tuple[str, ...], words: str) -> None:
    refused("run", "classification", "--transport", "local", *given, code=1, words=words)
