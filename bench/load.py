"""The locustfile: `locust -f bench/load.py`. All its logic is in `bench.generator.users`."""

from bench.generator.users import VisionUser

__all__ = ["VisionUser"]
