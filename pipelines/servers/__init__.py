"""The servers that we start or ask: Triton, Redis, Kafka, and what stands beside them."""
