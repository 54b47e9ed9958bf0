"""How the suite is run, what it says at its end, and the one embedded Triton that tests share."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import kind, link, no_leftovers, running, topic, url  # noqa: F401
from browser import browser  # noqa: F401
from hypothesis import HealthCheck, settings
from loads import forgiving  # noqa: F401
from need import NEEDS, hide, need_built
from perfetto_ui import perfetto  # noqa: F401

from bench.prepare.repository import models_of
from pipelines import paths
from pipelines.errors import ServerError
from pipelines.servers import triton as embedded
from pipelines.tasks.served import missing_models


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option --without."""
    known = ", ".join(NEEDS)
    parser.addoption("--without", default="", help=f"hide what tests skip without: {known}")


def pytest_configure(config: pytest.Config) -> None:
    """Hide what is asked for."""
    names = config.getoption("without").split()
    if unknown := set(names) - NEEDS.keys():
        raise pytest.UsageError(
            f"--without: unknown: {', '.join(unknown)}; known: {', '.join(NEEDS)}"
        )
    hide(names)
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The times that Hypothesis allows are those of a machine that does nothing else.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped and which command would cure it, and how to have this order again."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason}")
    options = terminalreporter.config.option
    if seed := getattr(options, "randomly_seed", None):
        again = f'make test ORDER=random SEED={seed} WITHOUT="{options.without}"'
        terminalreporter.line(f"for this order again: {again}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses the server, and begin with the files in which most does: they take longest."""
    using = Counter[Path]()
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        using[item.path] += bool({"triton", "triton_parts", "running"} & names)
        if {"triton", "triton_parts"} & names:
            item.add_marker("triton")
    if not getattr(config.option, "randomly_seed", None):
        items.sort(key=lambda item: -using[item.path])


@pytest.fixture(scope="session")
def triton_parts() -> None:
    """Skip, or fail in CI, where the server is not installed or its models are not built."""
    try:
        embedded.installation()
    except ServerError as error:
        need_built(None, str(error))
    missing = missing_models(paths.REPOSITORY, models_of(["classification"]))
    need_built(not missing, f"models are not built ({', '.join(missing)})")


@pytest.fixture(scope="session")
def triton(
    triton_parts: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[triton.Server]:
    """A ready embedded Triton that serves classification; a test loads what else it asks for.

    In the checkout's own repository other servers write how many instances they serve. Here it is
    few: each is a process that takes a quarter of a second of a core to start.
    """
    folder, models = tmp_path_factory.mktemp("triton"), models_of(["classification"])
    repository = shutil.copytree(paths.REPOSITORY, folder / "repository")
    sizes = embedded.Sizes(preprocess=1, inference=2)
    with embedded.start(folder, repository=repository, models=models, sizes=sizes) as started:
        started.wait_ready()
        yield started
        started.process.kill()  # asked to end, it would first wait for all connections to it
