"""Message brokers of our own as child processes, for tests, demos and calibration."""

from pipelines.services.child import Service
from pipelines.services.kafka import start_kafka
from pipelines.services.memory import start_memory
from pipelines.services.redis import start_redis

__all__ = ["Service", "start_kafka", "start_memory", "start_redis"]
