"""What runs inside Triton's Python backend, for the `model.py` of the repository; only Triton
imports it.
"""
