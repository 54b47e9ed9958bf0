"""The Kubernetes manifests as `kubectl` builds them, and what is wrong in them that a schema does
not see: names that nobody has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from processes import ROOT, run

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "autoscale")
ADDRESS = re.compile(r"^(?:--[\w-]+=)?([a-z][a-z0-9-]*):(\d+)$")

Documents = list[dict[str, Any]]


def build(overlay: str) -> Documents:
    """The overlay's documents."""
    done = run(("kubectl", "kustomize", FOLDER / overlay))
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]


def of_kind(kind: str, documents: Documents) -> dict[str, dict[str, Any]]:
    """The documents of a kind, by name."""
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


def pods(documents: Documents) -> dict[str, dict[str, Any]]:
    """The pods of each Deployment: their metadata and spec."""
    return {name: one["spec"]["template"] for name, one in of_kind("Deployment", documents).items()}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All of a pod, those that run first too."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def words(container: dict[str, Any]) -> list[str]:
    """Its command line, each option in one word with its value."""
    return joined([*container.get("command", []), *container.get("args", [])])


def joined(parts: list[str]) -> list[str]:
    """A command line with each option and its value in one word."""
    found: list[str] = []
    for part in parts:
        last = found[-1] if found else ""
        if last.startswith("--") and "=" not in last and not part.startswith("--"):
            found[-1] = f"{last}={part}"
        else:
            found.append(part)
    return found


def matches(selector: dict[str, str], pod: dict[str, Any]) -> bool:
    """Whether the selector chooses the pod."""
    return selector.items() <= pod["metadata"]["labels"].items()


def faults(documents: Documents) -> list[str]:
    """What names something that is not there."""
    return [
        *_of_pods(documents),
        *_of_services(documents),
        *_of_addresses(documents),
        *_of_policies(documents),
    ]


def _of_pods(documents: Documents) -> Iterator[str]:
    claims = of_kind("PersistentVolumeClaim", documents)
    for name, deployment in of_kind("Deployment", documents).items():
        pod = deployment["spec"]["template"]
        if not matches(deployment["spec"]["selector"]["matchLabels"], pod):
            yield f"{name} does not select its pods"
        volumes = {one["name"]: one for one in pod["spec"].get("volumes", [])}
        mounted = {one["name"] for each in containers(pod) for one in each.get("volumeMounts", [])}
        yield from (f"{name} mounts no volume {one}" for one in mounted - volumes.keys())
        yield from (f"{name} does not mount {one}" for one in volumes.keys() - mounted)
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{name}: no claim {claim}"
        affinity = pod["spec"].get("affinity", {}).get("podAffinity", {})
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", []):
            wanted = term["labelSelector"]["matchLabels"]
            if not any(matches(wanted, other) for other in pods(documents).values()):
                yield f"{name} would be beside nobody"
        for each in containers(pod):
            ports = {one["name"] for one in each.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asks = each.get(probe, {})
                for how in ("httpGet", "tcpSocket"):
                    if how in asks and asks[how]["port"] not in ports:
                        yield f"{name}: {probe} asks no port of its own"


def _of_services(documents: Documents) -> Iterator[str]:
    for name, service in of_kind("Service", documents).items():
        chosen = [
            one for one in pods(documents).values() if matches(service["spec"]["selector"], one)
        ]
        if len(chosen) != 1:
            yield f"the service {name} selects {len(chosen)} kinds of pods"
            continue
        ports = {
            one["name"]: one["containerPort"]
            for each in containers(chosen[0])
            for one in each.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            if ports.get(port["targetPort"]) != port["port"]:
                yield f"the service {name} has no port {port['name']}"


def _of_addresses(documents: Documents) -> Iterator[str]:
    known = {
        (name, str(port["port"]))
        for name, service in of_kind("Service", documents).items()
        for port in service["spec"]["ports"]
    }
    for name, pod in pods(documents).items():
        for each in containers(pod):
            said = words(each)
            found = [address.groups() for word in said if (address := ADDRESS.match(word))]
            options = dict(word.split("=", 1) for word in said if word.startswith("--master-"))
            if "--master-host" in options:
                found.append((options["--master-host"], options["--master-port"]))
            yield from (f"{name} asks {':'.join(one)}" for one in found if one not in known)


def _of_policies(documents: Documents) -> Iterator[str]:
    """Whoever asks Redis may, and Redis is the only one that is guarded."""
    for name, policy in of_kind("NetworkPolicy", documents).items():
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        if not any(matches(wanted, pod) for pod in pods(documents).values()):
            yield f"the policy {name} guards nobody"
        (rule,) = policy["spec"]["ingress"]
        allowed = [one["podSelector"]["matchLabels"] for one in rule["from"]]
        for asking, pod in pods(documents).items():
            asks = any(f"{name}:" in word for each in containers(pod) for word in words(each))
            if asks and not any(matches(one, pod) for one in allowed):
                yield f"{asking} may not ask {name}"
