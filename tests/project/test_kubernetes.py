"""deploy/kubernetes is what Compose runs, for a cluster: valid, consistent, contained. There is no
cluster here: nothing of it runs.
"""

from __future__ import annotations

import re
import shlex
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose import read
from manifests import (
    FOLDER,
    OVERLAYS,
    Documents,
    build,
    containers,
    faults,
    joined,
    of_kind,
    pods,
    words,
)
from need import need
from processes import run, until

from pipelines.processes import HOST
from pipelines.servers import triton

OLDEST, NEWEST = "1.29", "1.34"
"""Of Kubernetes, by whose schemas the manifests are checked."""

COMPOSE = read("docker-compose.yml", PWD="/pwd", IMAGES="medium", DEVICE="cpu")["services"]


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> Documents:
    need("kubectl")
    return build(request.param)


@pytest.fixture(scope="module")
def plain() -> Documents:
    need("kubectl")
    return build("cpu")


def copied(documents: Documents) -> Documents:
    """A copy to change."""
    return list(yaml.safe_load_all(yaml.safe_dump_all(documents)))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_document_follows_the_schema_of_kubernetes(built: Documents, version: str) -> None:
    for document in built:
        kubernetes_validate.validate(document, version, strict=True)
    wrong = copied(built)
    container = pods(wrong)["triton"]["spec"]["containers"][0]
    container["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        kubernetes_validate.validate(of_kind("Deployment", wrong)["triton"], version, strict=True)


def test_whatever_is_named_is_there(built: Documents) -> None:
    assert faults(built) == []


def _container(documents: Documents, pod: str) -> Any:
    return pods(documents)[pod]["spec"]["containers"][0]


PLANTED: dict[str, Callable[[Documents], Any]] = {
    "redis does not select its pods": lambda all: pods(all)["redis"]["metadata"].update(labels={}),
    "the service locust has no port page": lambda all: _container(all, "locust")["ports"].pop(0),
    "triton mounts no volume models": lambda all: pods(all)["triton"]["spec"]["volumes"].pop(0),
    "triton: no claim results": lambda all: all.remove(
        of_kind("PersistentVolumeClaim", all)["results"]
    ),
    "first asks redis:6380": lambda all: _container(all, "first")["args"].append(
        "--broker=redis:6380"
    ),
    "first may not ask redis": lambda all: pods(all)["first"]["metadata"]["labels"].pop("redis"),
    "locust-worker asks lokust:5557": lambda all: _container(all, "locust-worker")["args"].append(
        "--master-host=lokust"
    ),
    "triton: startupProbe asks no port of its own": lambda all: _container(all, "triton")[
        "startupProbe"
    ]["httpGet"].update(port="web"),
    "locust would be beside nobody": lambda all: pods(all)["triton"]["metadata"].update(labels={}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_what_is_not_there_is_found(plain: Documents, fault: str) -> None:
    wrong = copied(plain)
    PLANTED[fault](wrong)
    assert fault in faults(wrong)


def test_the_images_are_those_of_compose(built: Documents) -> None:
    ours = {each["image"] for pod in pods(built).values() for each in containers(pod)}
    assert ours <= {about["image"] for about in COMPOSE.values()}
    assert len(ours) == 3


def test_every_container_is_contained_and_limited(built: Documents) -> None:
    for name, pod in pods(built).items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name
        for each in containers(pod):
            said = each["securityContext"]
            assert said["readOnlyRootFilesystem"] is True, name
            assert said["allowPrivilegeEscalation"] is False, name
            assert said["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= each["resources"]["limits"].keys(), name
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys(), name
        if name != "locust-worker":  # which listens nowhere
            assert "readinessProbe" in pod["spec"]["containers"][0], name
    namespace = of_kind("Namespace", built)["visiontax"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    homes = {one["metadata"]["namespace"] for one in built if one["kind"] != "Namespace"}
    assert homes == {"visiontax"}


SAME = {
    "redis": ("redis", "redis"),
    "triton": ("triton", "triton"),
    "first": ("first", "worker"),
    "second": ("second", "worker"),
    "locust": ("locust", "locust"),
    "locust-worker": ("locust-worker", "locust"),
    "models": ("triton", "models"),
    "images": ("locust", "images"),
}
"""Where each service of Compose is: whose pod, and the container in it."""


@pytest.mark.parametrize("service", SAME)
def test_what_runs_is_what_compose_runs_and_tests(plain: Documents, service: str) -> None:
    """`test_compose.py` starts those command lines, and asks the programs about their options."""
    pod, name = SAME[service]
    (here,) = (each for each in containers(pods(plain)[pod]) if each["name"] == name)
    there = joined(shlex.split(COMPOSE[service]["command"].replace("/pwd/results", "/results")))
    ours = words(here)
    if service == "locust-worker":  # its records are its own
        ours.remove("--results=/results")
    assert sorted(ours) == sorted(there)


def test_the_gpu_is_asked_for_where_it_is_used() -> None:
    need("kubectl")
    pod = pods(build("gpu"))["triton"]
    asked = {
        one["name"]: one["resources"]["limits"].get("nvidia.com/gpu") for one in containers(pod)
    }
    assert asked == {"layout": None, "models": 1, "triton": 1}
    (models,) = (one for one in containers(pod) if one["name"] == "models")
    assert "--device=gpu" in words(models)


def test_the_autoscaler_watches_what_prometheus_adapter_makes_of_tritons_metrics(
    tmp_path: Path,
) -> None:
    need("kubectl")
    documents = build("autoscale")
    (scaler,) = of_kind("HorizontalPodAutoscaler", documents).values()
    target = scaler["spec"]["scaleTargetRef"]
    assert target["name"] in of_kind(target["kind"], documents)
    assert "replicas" not in of_kind("Deployment", documents)["triton"]["spec"]
    (metric,) = scaler["spec"]["metrics"]
    (config,) = of_kind("ConfigMap", documents).values()
    (rule,) = yaml.safe_load(config["data"]["config.yaml"])["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'pod="a"')
    query = query.replace("<<.GroupBy>>", "pod")
    assert "<<" not in query
    need("prometheus")
    rules = tmp_path / "rules.yml"
    rules.write_text(
        yaml.safe_dump(
            {"groups": [{"name": "g", "rules": [{"record": rule["name"]["as"], "expr": query}]}]}
        )
    )
    (tmp_path / "test.yml").write_text(yaml.safe_dump(_unit_test(rule["name"]["as"])))
    assert shutil.which("promtool")
    done = run(("promtool", "test", "rules", tmp_path / "test.yml"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def _unit_test(name: str) -> dict[str, Any]:
    """Ten requests a second; each waits 3 ms before one model of an ensemble, 4 before another."""
    queue, asked = "nv_inference_queue_duration_us", "nv_inference_request_success"
    each = {
        f'{queue}{{pod="a",model="one"}}': "0+900000x10",
        f'{queue}{{pod="a",model="two"}}': "0+1200000x10",
        f'{asked}{{pod="a",model="one"}}': "0+300x10",
        f'{asked}{{pod="a",model="two"}}': "0+300x10",
        f'{asked}{{pod="a",model="both"}}': "0+300x10",
    }
    found = [{"labels": f'{name}{{pod="a"}}', "value": 7}]
    return {
        "rule_files": ["rules.yml"],
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": key, "values": one} for key, one in each.items()],
                "promql_expr_test": [{"expr": name, "eval_time": "4m", "exp_samples": found}],
            }
        ],
    }


def test_triton_has_the_metrics_that_are_asked_for(triton: triton.Server) -> None:
    told = until(lambda: _told(f"http://{HOST}:{triton.port + 2}/metrics"), "metrics")
    asked = set(re.findall(r"\bnv_\w+", (FOLDER / "autoscale" / "autoscaler.yaml").read_text()))
    assert len(asked) == 2
    for metric in asked:
        assert f"\n{metric}{{" in told


def _told(url: str) -> str:
    """What is there, nothing before it is."""
    try:
        with urllib.request.urlopen(url) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""
