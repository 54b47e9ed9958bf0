"""The two examples of docs/own-code.md, served: known delays are found in their stages."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from loads import OF_A_BUSY_MACHINE
from noted import as_noted, read_notes, write_module
from processes import ROOT, TIMEOUT_S, environment
from runs import load, measured

from bench.ledger import reading
from bench.ledger.attribution.table import COLUMNS
from bench.record import records
from bench.record.scenario import TENSOR, Settings
from bench.runs.run import Plan
from pipelines import processes
from pipelines.servers import control, triton, visiontax_spans
from pipelines.servers.service import Service
from pipelines.topologies.names import NOBODY

pytestmark = pytest.mark.usefixtures("own_folder")

DECODE_NS, INFER_NS = 20_000_000, 30_000_000
ENOUGH = 30
WITHIN = 0.1
"""By how much a stage may be longer, in the median, than the sleep in it was."""

SLEEPING = f"""
import numpy as np
from noted import noted


def decode(image):
    with noted("decode", {DECODE_NS}):
        return image


def infer(images):
    with noted("inference", {INFER_NS}):
        pass
"""

FOR_TRITON = (
    SLEEPING
    + """    return [np.zeros((1, 1000), np.float32) for image in images]


def answer(logits):
    import triton_python_backend_utils as pb

    from pipelines.triton_models.dlpack import respond

    return respond(pb, {"logits": logits})
"""
)

FOR_THE_WEB = (
    SLEEPING
    + """    return bytes(4000)
"""
)

CONFIG = """
name: "mobilenetv2"
backend: "python"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "logits" data_type: TYPE_FP32 dims: [ 1000 ] }
"""
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 50000 preferred_batch_size: [ 2 ] }"
"""A batch of two does not wait for the delay."""


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which servers and runs of this test meet."""
    monkeypatch.setenv(visiontax_spans.FOLDER, str(tmp_path / "spans"))
    return tmp_path / "spans"


def example(named: str, *, into: Path, my_code: str) -> Path:
    """Write an example of the page, with the file that it tells to copy; its path."""
    page = (ROOT / "docs" / "own-code.md").read_text()
    (text,) = re.findall(rf"^```python\n# {re.escape(named)}\n(.*?)^```", page, re.M | re.S)
    path = into / named
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.with_name("my_code.py").write_text(my_code)
    write_module(path.parent)
    shutil.copy(visiontax_spans.__file__, path.parent)
    return path


def assert_accounted(folder: Path, *, code: Path, where: str, waits: bool) -> None:
    """Each request has the two delays in their stages, and next to nothing in `other`;
    `code` is the example.

    Where requests wait for each other in a batch, one waits in `queue` while another is decoded.
    """
    found = reading.read(folder)
    told = list(records.read_told(folder))
    assert {each.where for each in told} == {where}
    assert found.strange == []
    requests = {each.id for each in measured(folder)}
    assert requests <= {id for each in told for id in each.ids}
    counted = found.ledger.select(found.ledger.due_ns >= found.manifest.window_start_ns)
    assert len(counted.due_ns) >= ENOUGH
    assert (counted.time_ns.sum(axis=1) == counted.latency_ns).all()

    notes = read_notes(code.with_name("notes.jsonl"))
    for stage, delay_ns in (("decode", DECODE_NS), ("inference", INFER_NS)):
        really, part = as_noted(folder, counted, notes, stage=stage)
        assert really.min() >= delay_ns, stage
        assert (counted.time_of(stage) >= really).all(), stage
        assert np.median(counted.time_of(stage) / really) < 1 + WITHIN, stage
        work = counted.works[:, COLUMNS.index(stage)] / part
        assert 1 - 1e-6 < np.median(work) < 1 + WITHIN, stage
    rest = np.quantile(
        counted.time_of("other") / counted.latency_ns, 0.25
    )  # others may take the cores
    assert rest < 0.05, dict(zip(COLUMNS, counted.time_ns.mean(axis=0).round(), strict=True))
    assert waits is any(each.waiting for each in told)
    if waits:
        assert np.median(counted.time_of("queue")) >= DECODE_NS
    else:
        assert np.median(counted.time_of("queue") / counted.latency_ns) < 0.2


@pytest.mark.triton
@pytest.mark.usefixtures("triton_parts")
@pytest.mark.parametrize("users", [1, 2])
def test_a_python_model_of_triton(tmp_path: Path, own_folder: Path, users: int) -> None:
    model = tmp_path / "repository" / "mobilenetv2"
    code = example("1/model.py", into=model, my_code=FOR_TRITON)
    (model / "config.pbtxt").write_text(CONFIG + BATCHING * (users > 1))
    with triton.start(
        tmp_path / "server",
        repository=tmp_path / "repository",
        sizes=triton.Sizes(preprocess=1, inference=1),
        models=["mobilenetv2"],
    ) as server:
        server.wait_ready()
        settings = Settings(
            server=server.url,
            images=TENSOR,
            preprocess=NOBODY,
            place=NOBODY,
            users=users,
            warmup_s=0.5,
        )
        plan = Plan(settings, duration_s=TIMEOUT_S, results=tmp_path / "results")
        folder = load(plan, enough=ENOUGH)
    assert_accounted(folder, code=code, where="mobilenetv2", waits=users > 1)
    shared = [len(one.ids) for one in records.read_told(folder) if one.stage == "inference"]
    assert max(shared) == users
    assert not own_folder.exists()


def test_a_web_server(tmp_path: Path, own_folder: Path) -> None:
    app = example("app.py", into=tmp_path / "app", my_code=FOR_THE_WEB)
    port = processes.free_port()
    address = ("--host", processes.HOST, "--port", str(port))
    with Service(
        "app",
        [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "warning", *address],
        port=port,
        folder=tmp_path / "server",
        is_ready=control.is_ready,
        environment=environment(app.parent),
    ) as server:
        server.wait_ready()
        settings = Settings(server=server.url, transport="plain", images="small", warmup_s=0.5)
        plan = Plan(settings, duration_s=TIMEOUT_S, results=tmp_path / "results")
        folder = load(plan, enough=ENOUGH)
    assert_accounted(folder, code=app, where="uvicorn", waits=False)
    summary = reading.summary_of(folder)
    invalid = {issue.code for issue in summary.issues if issue.invalid}
    assert invalid <= OF_A_BUSY_MACHINE, summary.issues
    assert {"send", "receive"} <= {name for name, one in summary.stages.items() if one.mean_ms}
    assert not own_folder.exists()
