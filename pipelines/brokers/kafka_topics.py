"""Makes and deletes Kafka's topics. Errors of Kafka are passed on but for `sweep_replies`."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipelines import processes
from pipelines.brokers import REPLIES, is_reply
from pipelines.brokers.kafka_settings import PARTITIONS, PATIENCE_S, RETENTION, connection
from pipelines.errors import BrokerError


def make(url: str, topic: str) -> None:
    """Make the topic unless it is there."""
    partitions = 1 if is_reply(topic) else PARTITIONS
    wanted = NewTopic(topic, partitions, replication_factor=1, config=RETENTION)
    admin = connect(url)
    try:
        admin.create_topics([wanted], request_timeout=PATIENCE_S)[topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def delete(url: str, topics: list[str]) -> None:
    """Delete the topics that are there."""
    if not topics:
        return
    admin = connect(url)
    for deleted in admin.delete_topics(topics, request_timeout=PATIENCE_S).values():
        try:
            deleted.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def sweep_replies(url: str) -> None:
    """Delete the topics of replies to processes that are gone, as far as this one can know them.

    Raises BrokerError when Kafka is away.
    """
    try:
        topics = connect(url).list_topics(timeout=PATIENCE_S).topics
        delete(url, processes.abandoned(topics, REPLIES))
    except KafkaException as error:
        raise BrokerError(f"Kafka at {url}: {error.args[0]}", hint="is it running?") from error


def connect(url: str) -> AdminClient:
    """Return a connection; what it is asked for comes only while it is kept."""
    return AdminClient(connection(url))
