"""What a test needs and the machine may lack."""

from __future__ import annotations

import os

import pytest


def need(condition: object, reason: str) -> None:
    """Skip on a laptop without it; fail in CI, where all that the tests need must be there."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
