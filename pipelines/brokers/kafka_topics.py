"""Makes and deletes Kafka's topics. Errors of Kafka are passed on but for `sweep_replies`."""

from collections.abc import Mapping
from concurrent.futures import Future

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
    made = admin.create_topics([wanted], request_timeout=PATIENCE_S)
    _await(made, fine=KafkaError.TOPIC_ALREADY_EXISTS)


def delete(url: str, topics: list[str]) -> None:
    """Delete the topics that are there."""
    if topics:
        admin = connect(url)
        deleted = admin.delete_topics(topics, request_timeout=PATIENCE_S)
        _await(deleted, fine=KafkaError.UNKNOWN_TOPIC_OR_PART)


def _await(asked: Mapping[str, Future[None]], *, fine: int) -> None:
    """Wait for all that was asked; an error of the code `fine` is none."""
    for future in asked.values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != fine:
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
