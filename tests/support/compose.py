"""The stack of docker-compose.yml without Docker: each service's own command line, as a process of
this machine, with the container's paths and ports mapped to free ones of ours.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml
from brokers import QUICK_JAVA
from processes import ROOT, TIMEOUT_S, ended, family, run, wait_gone, write_program

from pipelines import paths
from pipelines.processes import HOST, Child, free_port, stop_all
from pipelines.servers import kafka, redis, triton
from pipelines.topologies.setting import seconds

FILES = ("docker-compose.yml", "docker-compose.cpu.yml")
BIN = ROOT / ".venv" / "bin"

PORTS = {
    "http": 8000,
    "grpc": 8001,
    "metrics": 8002,
    "redis": 6379,
    "kafka": 9092,
    "controller": 9093,
    "locust": 8089,
    "locust-master": 5557,
    "prometheus": 9090,
}
"""What listens in the containers."""

NAMES = ("triton", "redis", "kafka", "locust", "prometheus", "0.0.0.0")

_PATHS = ("/pwd", "/app", "/etc/visiontax", "/opt/kafka", "/tmp")
_TOKENS = re.compile(
    rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, _PATHS))})(?=/|$)"
    rf"|(?<![\w/.-])(?:{'|'.join(map(re.escape, NAMES))})(?=:\d)|^(?:locust|0\.0\.0\.0)$"
    rf"|(?<=//)(?:{'|'.join(map(re.escape, NAMES))})(?=:\d)"
    rf"|(?<![\d.])(?:{'|'.join(map(str, PORTS.values()))})(?!\d)"
)

ENTRYPOINTS = {"prom/prometheus": ["prometheus"]}
"""Of the images whose program the Compose file does not name."""


class _Loader(yaml.SafeLoader):
    """YAML with the tag by which an override removes what the file below it says."""


_Loader.add_constructor("!reset", lambda _loader, _node: _RESET)
_RESET = object()


def settings() -> dict[str, str]:
    """What .env says."""
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def read(*files: str, **environment: str) -> dict[str, Any]:
    """The files as Compose merges them, with the variables of .env, or those given, filled in."""
    known = settings() | {"PWD": str(ROOT)} | environment
    merged: dict[str, Any] = {}
    for file in files:
        text = re.sub(r"\$\{(\w+)\}", lambda name: known[name[1]], (ROOT / file).read_text())
        merged = _merge(merged, yaml.load(text, _Loader))
    return merged


def _merge(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merge(below.get(key), value)
        if merged[key] is _RESET:
            del merged[key]
    return merged


class Stack:
    """The services, started one by one in `folder`, each with a /tmp of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._pwd = folder / "pwd"
        self.services = read(*FILES, PWD="/pwd", **environment)["services"]
        self.ports = _free_ports()
        self.processes: dict[str, Child] = {}
        self._lay_out()

    def _lay_out(self) -> None:
        """Make what the images and the mounts would bring."""
        (self._pwd / "results" / "traces").mkdir(parents=True)
        app, mounted = self.folder / "app", self.folder / "mounted"
        app.mkdir()
        for name in ("bench", "pipelines", "build"):
            (app / name).symlink_to(ROOT / name)
        shutil.copytree(
            ROOT / "triton_repo",
            app / "triton_repo",
            copy_function=os.link,
            ignore=shutil.ignore_patterns("configs"),
        )
        shutil.copytree(ROOT / "deploy", mounted)
        for path in mounted.rglob("*.*"):
            if path.is_file() and path.suffix != ".json":
                path.write_text(self._mapped(path.read_text(), service=path.stem))
        programs = self.folder / "opt" / "kafka" / "bin"
        for script, main in (
            ("kafka-storage.sh", "kafka.tools.StorageTool"),
            ("kafka-server-start.sh", "kafka.Kafka"),
        ):
            command = shlex.join([*QUICK_JAVA, "-cp", f"{kafka.JARS}/*", main])
            write_program(programs / script, f'exec {command} "$@"')

    def url(self, port: str) -> str:
        """Where the port of that name, of PORTS, is here."""
        return f"{HOST}:{self.ports[port]}"

    def log(self, service: str) -> str:
        """What the service has said."""
        return (self.folder / f"{service}.log").read_text(errors="replace")

    def command(self, service: str) -> list[str]:
        """The service's own command line, for this machine."""
        about = self.services[service]
        parts = _words(about.get("entrypoint", [])) + _words(about.get("command", []))
        if "entrypoint" not in about:
            parts = ENTRYPOINTS.get(about["image"].split(":")[0], []) + parts
        return self._native(service, parts)

    def _native(self, service: str, parts: list[str]) -> list[str]:
        program, *arguments = parts
        arguments = [self._mapped(part, service=service) for part in arguments]
        if program == "tritonserver":
            return self._triton(arguments)
        ours = {
            "redis-server": redis.binary(),
            "redis-cli": str(Path(redis.binary()).with_name("redis-cli")),
        }
        own = BIN / program
        return [ours.get(program) or (str(own) if own.exists() else program), *arguments]

    def _triton(self, arguments: list[str]) -> list[str]:
        """The embedded server's binary and backends, its addresses, and no option that it lacks."""
        parts = triton.installation()
        arguments = [one for one in arguments if not one.startswith("--allow-client-shm")]
        backends = triton.backend_directory(parts, paths.BACKENDS, into=self.folder / "backends")
        listening = [
            f"--{name}-{what}={value}"
            for name in ("http", "grpc", "metrics")
            for what, value in (("address", HOST), ("port", self.ports[name]))
        ]
        return [str(parts.binary), *arguments, f"--backend-directory={backends}", *listening]

    def _mapped(self, text: str, *, service: str) -> str:
        """The text with the container's hosts, ports and paths replaced by ours."""
        temporary = self.folder / "tmp" / service
        temporary.mkdir(parents=True, exist_ok=True)
        paths = {
            "/pwd": self._pwd,
            "/app": self.folder / "app",
            "/etc/visiontax": self.folder / "mounted",
            "/opt/kafka": self.folder / "opt" / "kafka",
            "/tmp": temporary,
        }
        known = {
            **{path: str(own) for path, own in paths.items()},
            **dict.fromkeys(NAMES, HOST),
            **{str(PORTS[name]): str(port) for name, port in self.ports.items()},
        }
        text = text.replace("//:", f"//{HOST}:")
        return _TOKENS.sub(lambda token: known[token[0]], text)

    def start(self, service: str) -> None:
        """Start a service, and what it depends on, and wait for what Compose would wait for."""
        if service in self.processes:
            return
        for other, how in self.services[service].get("depends_on", {}).items():
            self.start(other)
            if how["condition"] == "service_completed_successfully":
                assert ended(self.processes[other].process) == 0, self.log(other)
            else:
                assert how["condition"] == "service_healthy"
                self.wait_healthy(other)
        self.processes[service] = child = Child(
            *(service, self.command(service)),
            log=self.folder / f"{service}.log",
            folder=self.folder / "app",
            environment=self._environment(service),
            patience_s=20,
        )
        child.ask_by = signal.Signals[self.services[service].get("stop_signal", "SIGTERM")]

    def _environment(self, service: str) -> dict[str, str]:
        known = dict(os.environ)
        if service == "triton":
            known |= triton.environment(triton.installation())
        return known | self.services[service].get("environment", {})

    def healthy(self, service: str) -> bool:
        """Whether the service's own health check passes, in its time."""
        health = self.services[service]["healthcheck"]
        kind, *check = health["test"]
        assert kind == "CMD"
        try:
            done = run(
                self._native(service, check),
                timeout_s=seconds(health["timeout"]),
                variables=self._environment(service),
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def wait_healthy(self, service: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until it is; fail when the process ends before."""
        deadline = time.monotonic() + timeout_s
        while not self.healthy(service):
            assert self.processes[service].alive, self.log(service)
            assert time.monotonic() < deadline, f"{service}: {self.log(service)}"
            time.sleep(0.1)

    def close(self) -> None:
        """End all."""
        children = list(self.processes.values())
        members = [each for child in children for each in family(child.process)]
        stop_all(children)
        wait_gone(members)


def stack(folder: Path, **environment: str) -> contextlib.closing[Stack]:
    """A stack with nothing started yet; afterwards nothing of it runs."""
    return contextlib.closing(Stack(folder, **environment))


def _words(command: str | list[str]) -> list[str]:
    """A command as Compose splits it."""
    return shlex.split(command) if isinstance(command, str) else list(command)


def _free_ports() -> dict[str, int]:
    """A free port for each of PORTS; Triton's are in a row, as in its container."""
    first = free_port(count=3)
    ports = {"http": first, "grpc": first + 1, "metrics": first + 2}
    while len(ports) < len(PORTS):
        port = free_port()
        if port not in ports.values():
            ports[next(name for name in PORTS if name not in ports)] = port
    return ports
