"""The locustfile: `locust -f bench/load.py`. All its logic is in `bench.users`."""

from bench.users import VisionUser

__all__ = ["VisionUser"]
