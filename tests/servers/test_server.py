"""`bench serve` as a user starts it, and how it ends: by Ctrl-C, by signals, and not at all."""

import contextlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pictures import GOOD
from processes import (
    BENCH,
    alive,
    bench,
    ended,
    family,
    refused,
    regions_of,
    started,
    until,
    wait_gone,
)

from pipelines import paths, processes
from pipelines.errors import ServerError
from pipelines.servers import control, triton
from pipelines.servers.device import CPU, Device
from pipelines.servers.sizing import Served, Sizes
from pipelines.tasks.served import missing_models
from pipelines.topologies.choose import Setup, pipeline

pytestmark = pytest.mark.usefixtures("triton_parts")
ONE_EACH = ("--preprocess-instances", 1, "--inference-instances", 1)
ONE = ("classification", *ONE_EACH)
SCRIPT = ("sh", "-c", '"$@" & wait $!', "sh")
"""Runs a command in its background, and so with SIGINT ignored."""


@contextlib.contextmanager
def serving(
    log: Path, *options: object, by: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A `bench serve` that has said that it is ready."""
    with started((*by, *BENCH), "serve", *(options or ONE), log=log) as process:
        until(lambda: "ready;" in log.read_text() or process.poll() is not None, "bench serve")
        assert process.poll() is None, log.read_text()
        yield process


def test_nobody_else_can_read_what_a_load_has_in_shared_memory(triton: triton.Server) -> None:
    setup = Setup(transport="shm", server=triton.url)
    with contextlib.closing(pipeline(setup)) as ask:
        ask(GOOD, request_id="t")
        regions = [*Path("/dev/shm").glob(f"visiontax-{processes.owner()}-*put")]
        modes = [stat.S_IMODE(path.stat().st_mode) for path in regions]
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize(
    ("number", "by"),
    [(signal.SIGINT, ()), (signal.SIGINT, SCRIPT), (signal.SIGTERM, SCRIPT)],
    ids=["Ctrl-C", "SIGINT in a script", "SIGTERM in a script"],
)
def test_it_ends_cleanly_when_asked(
    tmp_path: Path, number: signal.Signals, by: tuple[str, ...]
) -> None:
    log = tmp_path / "serve.log"
    everything = () if by else ONE_EACH
    with serving(log, *everything, by=by) as process:
        url = re.findall(r"^http +http://(127\.0\.0\.1:\d+)$", log.read_text(), re.MULTILINE)
        until(lambda: control.is_ready(url[0]), "an answer")
        assert re.search(r"^grpc +127\.0\.0\.1:\d+$", log.read_text(), re.MULTILINE)
        assert re.search(r"^metrics +http://127\.0\.0\.1:\d+/metrics$", log.read_text(), re.M)
        members = family(process)
        assert {"tritonserver", "triton_python_backend_stub"} <= {
            Path(member.exe()).name for member in members
        }
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for member in members
            for connection in member.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 3
        assert set(listening) == {"127.0.0.1"}
        bench = members[1 if by else 0]
        bench.send_signal(number)
        assert ended(process) == 0, log.read_text()
        assert alive(members) == []
    assert "Traceback" not in log.read_text()
    assert not Path(paths.BUILD / "serve" / str(bench.pid) / "backends").exists()


def test_nothing_stays_when_it_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "serve.log") as process:
        members = family(process)
        assert len(members) > 3
        process.kill()
        process.wait()
        wait_gone(members)


def test_nothing_stays_when_it_is_killed_while_triton_starts(tmp_path: Path) -> None:
    """Then the processes of Triton's models would wait for it. Triton may not hear that it is to
    end; then the guard ends it when its patience does.
    """
    command = (*BENCH, "serve", "classification")
    with started(command, log=tmp_path / "serve.log") as process:
        until(lambda: any(map(_is_stub, family(process))), "a model's process")
        time.sleep(0.3)
        members = family(process)
        process.kill()
        process.wait()
        wait_gone(members)
    assert regions_of(process) == []


def _is_stub(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "python_backend_stub" in process.exe()
    return False


def _kill_triton(members: list[psutil.Process]) -> None:
    next(each for each in members if Path(each.exe()).name == "tritonserver").kill()


def test_triton_that_dies_is_started_again_once(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    with serving(log) as process:
        (url,) = re.findall(r"^http +http://(\S+)$", log.read_text(), re.MULTILINE)
        members = family(process)
        _kill_triton(members)
        until(lambda: log.read_text().count("ready;") == 2, "the second server")
        wait_gone([each for each in members if each.pid != process.pid])
        until(lambda: control.is_ready(url), "an answer")
        members = family(process)
        _kill_triton(members)
        assert ended(process) == 1
        wait_gone(members)
    said = [line for line in log.read_text().splitlines() if "ended by itself" in line]
    assert said == [
        "warning: Triton ended by itself with SIGKILL; it is started again",
        "error: Triton ended by itself with SIGKILL, for the second time",
    ]
    assert regions_of(process) == []
    assert "hint: see " in log.read_text()


def test_the_model_repository_may_have_spaces_in_its_path(tmp_path: Path) -> None:
    repository = tmp_path / "my models"
    repository.mkdir()
    for model in ("classification_opencv", "preprocess_classification_opencv", "mobilenetv2"):
        shutil.copytree(paths.REPOSITORY / model, repository / model)
    sizes = Sizes(preprocess=1, inference=1)
    with triton.start(
        tmp_path / "server", repository=repository, sizes=sizes, models=["classification_opencv"]
    ) as server:
        server.wait_ready()
        with contextlib.closing(pipeline(Setup(server=server.url))) as ask:
            assert ask(GOOD, request_id="t").answer is not None


def test_where_triton_cannot_run_models_it_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="a space in its name") as caught:
        triton.start(tmp_path / "my dir")
    assert "--server" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offset", [0, 1, 2], ids=["http", "grpc", "metrics"])
def test_a_port_in_use_is_named(offset: int, tmp_path: Path) -> None:
    port = processes.free_port(count=3)
    with socket.socket() as taken:
        taken.bind((processes.HOST, port + offset))
        taken.listen()
        with pytest.raises(ServerError, match=f"port {port + offset} is in use") as raised:
            triton.start(tmp_path, port=port)
    assert "--port" in raised.value.hint


def test_a_port_in_use_is_one_line_and_a_hint(triton: triton.Server) -> None:
    done = bench("serve", "--port", triton.port)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"error: port {triton.port} is in use\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_repository_that_is_not_built_names_its_models(tmp_path: Path) -> None:
    for config in paths.REPOSITORY.glob("*/config.pbtxt"):
        (tmp_path / config.parent.name).mkdir()
        shutil.copy(config, tmp_path / config.parent.name)
    models = ("mobilenetv2", "preprocess_classification_dali")
    words = ("error: the model repository is not built: ", *models, "hint: run 'bench models'")
    refused("serve", "--repository", tmp_path, code=1, words=words)


def test_a_model_that_does_not_load_is_the_servers_own_words(tmp_path: Path) -> None:
    model = tmp_path / "repository" / "broken"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "broken"\nbackend: "python"\nmax_batch_size: 1\n')
    (model / "1" / "model.py").write_text("raise ValueError('as it happens')\n")
    words = ("error: Triton stopped while starting: ", "as it happens", "hint: see ")
    refused("serve", "--repository", model.parent, code=1, words=words)


def test_a_gpu_that_is_not_there_is_one_line_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no GPU"):
        triton.start(tmp_path, sizes=triton.default_sizes(Device("gpu", (99,))))
    assert not list(tmp_path.iterdir())
    told = refused("serve", "--device", "gpu:99", code=1, words="")
    assert re.search(r"^error: there is no GPU .*\nhint: ", told, re.MULTILINE)
    refused("serve", "--device", "tpu", code=2, words="tpu")


def test_on_the_cpu_the_place_of_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="server-gpu needs a server on a GPU") as raised:
        triton.start(tmp_path, models=["classification_dali_gpu"])
    for cure in ("bench models --device gpu", "--device gpu of 'bench serve'"):
        assert cure in raised.value.hint


def test_a_running_server_without_it_is_told_how_to_have_it(triton: triton.Server) -> None:
    with pytest.raises(ServerError, match="does not serve nothing_dali_gpu") as raised:
        control.load(triton.url, ["nothing_dali_gpu"])
    assert "bench models --device gpu" in raised.value.hint
    assert "\n" not in str(raised.value)
    with pytest.raises(ServerError, match="does not serve nothing_at_all") as raised:
        control.load(triton.url, ["nothing_at_all"])
    assert "gpu" not in raised.value.hint


def test_a_server_says_where_it_runs_a_model(triton: triton.Server) -> None:
    assert control.device_of(triton.url, "mobilenetv2") == CPU
    with pytest.raises(ServerError, match="does not say where it runs nothing"):
        control.device_of(triton.url, "nothing")


def test_a_server_says_how_it_serves_its_models(triton: triton.Server) -> None:
    """The one of the tests has two instances of a DNN, and one of what preprocesses."""
    names = ["mobilenetv2", "preprocess_classification_opencv"]
    assert control.served_by(triton.url, [*names, "nothing"]) == {
        names[0]: Served(2),
        names[1]: Served(1),
    }


def test_unbuilt_models_of_a_gpu_are_missed_only_where_one_is_asked_for(tmp_path: Path) -> None:
    name = "preprocess_depth_dali_gpu"
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "dali"\n')
    assert missing_models(tmp_path) == []
    assert missing_models(tmp_path, ["depth_dali_gpu"]) == ["depth_dali_gpu", name]


def test_everything_on_the_cpu_leaves_out_what_needs_a_gpu(tmp_path: Path) -> None:
    graph = tmp_path / "preprocess_depth_dali_gpu"
    (graph / "1").mkdir(parents=True)
    (graph / "config.pbtxt").write_text(f'name: "{graph.name}"\nbackend: "dali"\n')
    with serving(tmp_path / "log", "--repository", tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0


def test_help_lists_the_options_and_an_unknown_one_too() -> None:
    options = ("--port", "--repository", "--device", "--inference-instances")
    shown = bench("serve", "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in options)
    told = refused("serve", "--prot", 1, code=2, words=options)
    assert told.startswith("error: No such option")


@pytest.mark.parametrize("port", [0, 65534, 70000, "eight"])
def test_an_impossible_port_is_a_usage_error(port: object) -> None:
    told = refused("serve", "--port", port, code=2, words="")
    assert told.startswith("error: Invalid value for '--port'")
