"""All settings of Kafka's clients and topics that are not the library's own."""

from typing import Any

Setting = str | int | bool

MOST_BYTES = 64 * 2**20
"""The largest message; Kafka's own limit of 1 MB is below a large photograph."""

COMMON: dict[str, Setting] = {"log_level": 0, "reconnect.backoff.max.ms": 1000}
"""Of every connection: errors are raised, not printed, and a broker that is back is found soon."""

PRODUCER: dict[str, Setting] = {"message.max.bytes": MOST_BYTES}

CONSUMER: dict[str, Setting] = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
"""Beside the group, and its timeouts, which follow from when a taker counts as gone."""

TUNED: dict[str, Setting] = {"linger.ms": 0, "acks": 1}
"""Of producers. Consumers' own settings already hand over a message at once."""

PARTITIONS = 4
"""At most so many takers share a topic."""

RETENTION: dict[str, str] = {
    "max.message.bytes": str(MOST_BYTES),
    "retention.ms": "60000",
    "retention.bytes": str(256 * 2**20),
    "segment.bytes": str(64 * 2**20),
}
"""Of a topic; the numbers of bytes but the first are per partition."""

PATIENCE_S = 5.0
"""An answer that is so late will not come."""


def connection(url: str) -> dict[str, Any]:
    """Return the settings of a connection to the Kafka at host:port."""
    return {"bootstrap.servers": url, **COMMON}
