"""The one embedded Triton that the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from brokers import kind, link, running, topic, url  # noqa: F401
from need import need

from bench.prepare.repository import models_of
from pipelines import paths
from pipelines.errors import ServerError
from pipelines.servers import triton as embedded


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the server."""
    for item in items:
        if {"triton", "triton_parts"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("triton")


@pytest.fixture(scope="session")
def triton_parts() -> None:
    """Skip, or fail in CI, where the server is not installed or its models are not built."""
    try:
        embedded.installation()
    except ServerError as error:
        need(None, f"{error}: {error.hint}")
    missing = embedded.missing_models(paths.REPOSITORY, models_of(["classification"]))
    need(not missing, f"models are not built: {', '.join(missing)}")


@pytest.fixture(scope="session")
def triton(
    triton_parts: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[triton.Server]:
    """A ready embedded Triton that serves classification; a test loads what else it asks for."""
    models = models_of(["classification"])
    with embedded.start(tmp_path_factory.mktemp("triton"), models=models) as started:
        started.wait_ready()
        yield started
        started.process.kill()  # asked to end, it would first wait for all connections to it
