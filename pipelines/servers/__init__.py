"""The servers that we start or ask: Triton, Redis, Kafka, and the plain ones beside them; no
request passes through here.
"""
