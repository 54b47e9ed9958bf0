"""The system under test and its instrumentation: what runs while a request is in flight; nothing
here knows `bench`.
"""
