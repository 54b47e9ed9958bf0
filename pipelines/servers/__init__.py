"""The servers that we start or ask: Triton, Redis, Kafka, and in `apps` what stands in Triton's
place for comparison. Requests pass through the apps only, and through what users copy.
"""
