"""Apache Kafka as a child process: broker and controller in one, in KRaft mode."""

import shutil
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipelines import processes
from pipelines.brokers.kafka_settings import MOST_BYTES, PARTITIONS, RETENTION
from pipelines.errors import ServerError
from pipelines.paths import BUILD
from pipelines.processes import HOST, Child, free_port
from pipelines.servers.service import Service

JARS = BUILD / "kafka"
HEAP = "512m"
JAVA = ("java", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
CLUSTER = "visiontax-kafka-broker"
"""A name for Kafka must be 16 bytes in base64."""

_FORMAT_TIMEOUT_S = 60.0

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # One broker holds one copy of everything.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    # Takers come and go within seconds.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # A topic that is made by putting on it is bounded too; old segments go soon.
    "num.partitions": str(PARTITIONS),
    "message.max.bytes": str(MOST_BYTES),
    "log.retention.ms": RETENTION["retention.ms"],
    "log.retention.bytes": RETENTION["retention.bytes"],
    "log.segment.bytes": RETENTION["segment.bytes"],
    "log.retention.check.interval.ms": "2000",
    "log.initial.task.delay.ms": "2000",
    "log.segment.delete.delay.ms": "1000",
}
"""Kafka's settings, beside ports and folders. The others are its defaults."""


def start_kafka(folder: Path, port: int | None = None) -> Service:
    """Start Kafka with its log and its data in `folder`; data of a killed one there is taken over.

    Raises ServerError when Java or the jars are missing, or the data cannot be laid out.
    """
    check_installed()
    chosen, controller = free_port(port), free_port()
    data = folder / "kafka-data"
    processes.sweep_folders(folder.parent, name=data.name)
    data.mkdir(parents=True, exist_ok=True)
    properties = PROPERTIES | {
        "listeners": f"PLAINTEXT://{HOST}:{chosen},CONTROLLER://{HOST}:{controller}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "log.dirs": str(data),
    }
    written = folder / "kafka.properties"
    written.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    if not (data / "meta.properties").exists():
        _format(written)
    command = _java("kafka.Kafka", str(written))
    return Service("kafka", command, port=chosen, folder=folder, is_ready=_is_ready, data=data)


def _java(*arguments: str) -> list[str]:
    return [*JAVA, "-cp", f"{JARS}/*", *arguments]


def check_installed() -> None:
    """Raise ServerError when Java or the jars are missing."""
    cure = "run 'make kafka'; it needs Java 17 and Maven (apt install maven)"
    if shutil.which("java") is None:
        raise ServerError("Kafka needs Java, which is not on PATH", hint=cure)
    if not any(JARS.glob("kafka_*.jar")):
        raise ServerError("Kafka is not fetched", hint=cure)


def _format(properties: Path) -> None:
    command = _java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties))
    with Child("the layout of Kafka's data", command, log=properties.with_suffix(".log")) as child:
        child.wait(_FORMAT_TIMEOUT_S)
    if child.process.returncode:
        raise ServerError(
            f"Kafka's data could not be laid out: {child.lines()[0][:300]}",
            hint="it needs Java 17 or newer, and space on the disk",
        )


def _is_ready(url: str) -> bool:
    admin = AdminClient({"bootstrap.servers": url, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False
