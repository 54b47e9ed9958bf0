"""What `docker compose up` needs of this machine."""

import os
import re

from bench.prepare.doctor.host import Check, Host, wish
from pipelines.processes import is_free

_OLDEST = (2, 24)
"""Of the Compose plugin: docker-compose.cpu.yml takes something away, which older ones cannot."""


def check_docker(host: Host) -> Check:
    """Docker, and its plugin for Compose."""
    cure = "install Docker Engine and its Compose plugin 2.24 or newer; only Compose needs them"
    if host.which("docker") is None:
        return Check("docker", "optional", "none", cure)
    version = host.says("docker", "compose", "version", "--short").removeprefix("v")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    fits = numbers is not None and (int(numbers[1]), int(numbers[2])) >= _OLDEST
    detail = f"Compose {version}" if version else "Docker without Compose"
    if fits and not host.says("docker", "version", "--format", "{{.Server.Version}}"):
        detail, fits = f"{detail}, but its engine does not answer", False
        cure = "start it (systemctl start docker), or become a member of the group docker"
    return wish("docker", fits, detail, cure=cure)


def check_ports(host: Host) -> Check:
    """The ports that Compose publishes must be free, unless it is Compose that listens there."""
    ports = {name: port for name, port in _environment(host).items() if name.endswith("_PORT")}
    taken = [f"{port} ({name})" for name, port in ports.items() if _is_taken(port)]
    detail = f"in use: {', '.join(taken)}" if taken else f"{len(ports)} for Compose are free"
    cure = "if it is not Compose itself that listens there, set other ports in .env"
    return wish("ports", not taken, detail, cure=cure)


def check_owner(host: Host) -> Check:
    """The containers write into folders of the checkout."""
    runs_as = _environment(host).get("RUN_AS", "")
    folders = [host.root / name for name in ("results", "triton_repo")]
    owners = {each.name: str(each.stat().st_uid) for each in folders if each.is_dir()}
    wanted = runs_as.split(":")[0]
    others = [f"{name} of {owner}" for name, owner in owners.items() if owner != wanted]
    detail = f"Compose runs as {runs_as}" + (f", but {', '.join(others)}" if others else "")
    cure = f"for Compose: chown -R {runs_as} {' '.join(owners)}"
    if os.getuid():
        cure += f", or set RUN_AS={os.getuid()}:{os.getgid()} in .env"
    return wish("owner", not others, detail, cure=cure)


def _environment(host: Host) -> dict[str, str]:
    """What .env says, but for what the shell's environment says otherwise."""
    try:
        lines = (host.root / ".env").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: os.environ.get(name, value) for name, value in pairs}


def _is_taken(port: str) -> bool:
    try:
        return not is_free(int(port))
    except (OverflowError, ValueError):
        return True
