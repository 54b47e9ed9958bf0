"""docker-compose.yml is what runs: valid, contained, and each service's own command line works on
this machine's programs.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose import BIN, FILES, Stack, read, settings, stack
from google.protobuf import text_format
from loads import OF_A_BUSY_MACHINE
from need import need
from pictures import GOOD
from processes import ROOT, TIMEOUT_S, ended, run, until, write_program
from runs import enough
from tritonclient.grpc.model_config_pb2 import ModelConfig

from bench.ledger.reading import summary_of
from bench.record.manifest import read_manifest
from pipelines.servers import kafka, triton
from pipelines.topologies.choose import Setup, pipeline

SERVICES = read(FILES[0])["services"]
OURS = [name for name, about in SERVICES.items() if about["image"].startswith("visiontax")]


def _compose_lines() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        line
        for path in pages
        for line in path.read_text().splitlines()
        if line.startswith("docker compose ")
    ]


def test_the_files_follow_the_specification_of_compose(tmp_path: Path) -> None:
    merged = tmp_path / "merged.yml"
    merged.write_text(yaml.safe_dump(read(*FILES)))
    check = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = run(check, FILES[0], merged)
    assert done.returncode == 0, done.stdout
    merged.write_text(merged.read_text().replace("read_only:", "readonly:"))
    assert run(check, merged).returncode == 1


def test_the_linter_finds_nothing_that_is_not_explained() -> None:
    done = run((BIN / "compose-lint", "check", "--fail-on", "low", FILES[0]))
    assert done.returncode == 0, done.stdout
    assert "SUPPRESSED" in done.stdout  # it has looked


@pytest.mark.parametrize("config", sorted((ROOT / "triton_repo").glob("*/config.pbtxt")), ids=str)
def test_every_model_has_a_configuration_of_the_pinned_release(config: Path) -> None:
    parsed = text_format.Parse(config.read_text(), ModelConfig())
    assert parsed.name == config.parent.name


def test_every_variable_is_set_in_the_environment_file_and_used() -> None:
    text = "".join((ROOT / file).read_text() for file in FILES)
    assert set(re.findall(r"\$\{(\w+)\}", text)) == {*settings(), "PWD"}


def test_images_are_of_the_versions_that_are_tested_here() -> None:
    images = {about["image"].split(":")[0]: about["image"] for about in SERVICES.values()}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {image for name, image in images.items() if name.startswith("visiontax")} == {
        f"visiontax:{version}",
        f"visiontax-triton:{version}",
    }
    jars = (ROOT / "scripts" / "kafka" / "pom.xml").read_text()
    kafka_version = re.search(r"kafka_2.13</artifactId>\s*<version>([\d.]+)<", jars)
    assert kafka_version
    assert images["apache/kafka"] == f"apache/kafka:{kafka_version[1]}"
    lock = (ROOT / "requirements.lock").read_text()
    client = re.search(r"^tritonclient==2\.(\d+)\.0", lock, re.M)
    server_image = re.search(r"tritonserver:(\d+)\.(\d+)-py3$", _dockerfile(), re.M)
    assert client
    assert server_image
    # 25.12 was 2.64; a release a month.
    months = (int(server_image[1]) - 25) * 12 + int(server_image[2]) - 12
    assert int(client[1]) == 64 + months


def _dockerfile() -> str:
    return (ROOT / "deploy" / "Dockerfile").read_text()


def test_the_image_has_what_it_copies_and_runs_the_locked_packages() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        name
        for line in _dockerfile().splitlines()
        if line.startswith("COPY")
        for name in line.split()[1:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    assert _dockerfile().count("--require-hashes") == 2


def test_only_this_host_reaches_what_is_published() -> None:
    for name, about in SERVICES.items():
        for port in about.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
    assert read(FILES[0])["networks"]["brokers"]["internal"] is True
    for name in ("redis", "kafka"):
        assert SERVICES[name]["networks"] == ["brokers"]
        assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_contained_and_limited(name: str) -> None:
    about = SERVICES[name]
    assert about["read_only"] is True
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    assert about["user"].split(":")[0] not in ("", "0", "root")
    assert {"cpus", "memory", "pids"} <= set(about["deploy"]["resources"]["limits"])
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(about)
    assert not [key for key in about.get("environment", {}) if re.search("PASS|SECRET|TOKEN", key)]


def test_the_override_takes_the_gpu_away_and_nothing_else() -> None:
    without, without_gpu = read(*FILES)["services"], ("models", "triton")
    for name, about in SERVICES.items():
        expected = json.loads(json.dumps(about))
        devices = expected["deploy"]["resources"].get("reservations")
        if name in without_gpu:
            del expected["deploy"]["resources"]["reservations"]
        assert bool(devices) == (name in ("models", "triton", "plans"))
        if name == "models":
            expected["command"] = about["command"].replace("--device gpu", "--device cpu")
        assert without[name] == expected


NEWER = "--allow-client-shm=true"
"""What the container's Triton has beyond the embedded one."""


def test_triton_gets_the_options_of_the_embedded_server() -> None:
    here = triton.options(Path("/app/triton_repo"), Path("/none"), port=1)
    elsewhere = re.compile("--(backend-directory|.*-(address|port))=")
    theirs = SERVICES["triton"]["command"].split()[1:]
    ours = [option for option in here if not elsewhere.match(option)]
    assert sorted(theirs) == sorted(
        [*ours, f"--trace-config=triton,file={ROOT}/results/traces/trace.json", NEWER]
    )


@pytest.mark.usefixtures("triton_parts")
def test_every_option_of_triton_exists(tmp_path: Path) -> None:
    parts = triton.installation()
    done = run((parts.binary, "--help"), folder=tmp_path, variables=triton.environment(parts))
    known = set(re.findall(r"--[a-z][\w-]+", done.stdout + done.stderr))
    used = {part.split("=")[0] for part in SERVICES["triton"]["command"].split()[1:]}
    assert used - known == {NEWER.split("=")[0]}


def test_grafana_finds_its_dashboard_and_the_dashboard_its_data() -> None:
    deploy, about = ROOT / "deploy", SERVICES["grafana"]
    assert about["volumes"] == ["./deploy/grafana:/etc/visiontax:ro"]
    provisioning = about["environment"]["GF_PATHS_PROVISIONING"]
    assert provisioning == "/etc/visiontax/provisioning"
    inside = deploy / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((inside / "dashboards/visiontax.yml").read_text())["providers"]
    folder = deploy / "grafana" / Path(provider["options"]["path"]).relative_to("/etc/visiontax")
    (source,) = yaml.safe_load((inside / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (dashboard,) = (json.loads(path.read_text()) for path in folder.glob("*.json"))
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}


def test_kafka_has_the_settings_of_the_embedded_one() -> None:
    lines = (ROOT / "deploy" / "kafka.properties").read_text().splitlines()
    written = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    places = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    assert {key: value for key, value in written.items() if key not in places} == kafka.PROPERTIES
    assert places <= set(written)


@pytest.mark.parametrize("line", _compose_lines())
def test_the_docs_start_what_there_is(line: str) -> None:
    words = shlex.split(line, comments=True)[2:]
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", "-f", action="append", choices=FILES)
    profiles = {name for about in SERVICES.values() for name in about.get("profiles", [])}
    parser.add_argument("--profile", action="append", choices=profiles)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "run", "logs"):
        command = commands.add_parser(name)
        for flag in ("--build", "--detach", "--force-recreate", "--rm"):
            command.add_argument(flag, action="store_true")
        command.add_argument("--scale", action="append", default=[])
        command.add_argument("services", nargs="*" if name == "up" else 1)
        command.add_argument("rest", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(words)
    scaled = [each.split("=")[0] for each in parsed.scale]
    named = parsed.services + parsed.rest if parsed.command == "up" else parsed.services
    assert set(SERVICES) >= {*named, *scaled}


@pytest.fixture(scope="module")
def up(triton_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `docker compose --profile load up` starts."""
    del triton_parts
    sizes = {"PREPROCESS_INSTANCES": "1", "INFERENCE_INSTANCES": "1"}
    with stack(tmp_path_factory.mktemp("stack"), IMAGES="small", **sizes) as started:
        for service, about in started.services.items():
            if about.get("profiles", ["load"]) == ["load"]:
                started.start(service)
        for service in ("first", "second"):
            started.wait_healthy(service)
        page = f"{started.url('locust')}/stats/requests"
        until(lambda: json.loads(ask(page))["worker_count"] == 1, "a generator")
        yield started


def test_the_stack_measures_through_locusts_page(up: Stack) -> None:
    """Also after something was asked in vain."""
    vain = {"user_count": 1, "spawn_rate": 1, "pipeline": "depth", "topology": "redis-streams"}
    told = json.loads(ask(f"{up.url('locust')}/swarm", **vain))
    assert not told["success"]
    assert "has one DNN" in told["message"]
    folder = swarm(up, pipeline="classification", images="small")
    found = summary_of(folder)
    invalid = {issue.code for issue in found.issues if issue.invalid}
    assert invalid <= OF_A_BUSY_MACHINE, found.issues


def test_the_stack_measures_a_chain_through_its_workers(up: Stack) -> None:
    folder = swarm(up, pipeline="faces", images="small", topology="redis-streams")
    found = summary_of(folder)
    assert found.errors == 0
    assert found.broker_share


def test_every_service_passes_its_own_health_check(up: Stack) -> None:
    checked = [name for name in up.processes if "healthcheck" in up.services[name]]
    assert {"triton", "redis", "first", "second", "locust"} <= set(checked)
    for name in checked:
        up.wait_healthy(name)


def swarm(up: Stack, **form: Any) -> Path:
    """Make a run as a user of Locust's page does; its folder."""
    made = Path(up.folder / "pwd" / "results")
    before = set(made.iterdir())
    chosen = {"user_count": 2, "spawn_rate": 2, "host": up.url("http"), "topology": ""}
    chosen |= form
    answer = ask(f"{up.url('locust')}/swarm", **chosen)
    assert json.loads(answer)["success"], answer
    (folder,) = until(lambda: set(made.iterdir()) - before, "a folder")
    until(lambda: enough(30)(folder), "requests that count")
    ask(f"{up.url('locust')}/stop", now="yes")
    until(lambda: read_manifest(folder).window_end_ns, "the end of the run")
    return folder


def ask(address: str, **form: Any) -> str:
    """What a page answers."""
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(f"http://{address}", data, timeout=TIMEOUT_S) as reply:
        return str(reply.read().decode())


def test_the_dashboard_shows_what_prometheus_reads_of_triton(up: Stack) -> None:
    need("prometheus")
    up.start("prometheus")
    up.wait_healthy("prometheus")
    with contextlib.closing(pipeline(Setup(server=up.url("http")))) as asked_once:
        asked_once(GOOD, request_id="t")
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/visiontax.json").read_text())
    asked = {
        target["expr"]: panel["title"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if panel["title"] != "GPU"
    }
    assert len(asked) > 5
    for expression, title in asked.items():
        until(lambda asked=expression: reads(up, asked), title)


def reads(up: Stack, expression: str) -> list[Any]:
    """What Prometheus answers."""
    query = urllib.parse.urlencode({"query": expression})
    answer = json.loads(ask(f"{up.url('prometheus')}/api/v1/query?{query}"))
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def test_plans_are_built_into_the_repository_that_triton_serves(
    up: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saves = 'for each; do case $each in --saveEngine=*) touch "${each#*=}"; esac; done'
    write_program(tmp_path / "trtexec", saves)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    up.start("plans")
    assert ended(up.processes["plans"].process) == 0, up.log("plans")
    assert (up.folder / "app" / "triton_repo" / "mobilenetv2" / "1" / "model.plan").exists()


def test_the_workers_reach_kafka(tmp_path: Path) -> None:
    need("java", "kafka")
    with stack(tmp_path, TOPOLOGY="kafka", BROKER_URL="kafka:9092") as started:
        started.start("kafka")
        started.wait_healthy("kafka")
        del started.services["first"]["depends_on"]  # nothing is asked of Triton here
        started.start("first")
        started.wait_healthy("first")
