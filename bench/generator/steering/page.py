"""Locust's web page: what is wrong with its fields is said in it, and no run is started."""

from collections.abc import Callable, Mapping
from typing import Any

import flask
from locust.web import WebUI

from pipelines.errors import VisiontaxError


def guard(page: WebUI, check: Callable[[Mapping[str, str]], None]) -> None:
    """Have `check` look at the fields whenever somebody presses Start; what it raises is shown."""
    views: dict[str, Callable[[], Any]] = page.app.view_functions  # type: ignore[union-attr]
    start = views["locust.swarm"]

    def swarm() -> Any:
        try:
            check(flask.request.form)
        except VisiontaxError as error:
            said = "; ".join(filter(None, (str(error), error.hint)))
            return flask.jsonify(success=False, message=said)
        return start()

    views["locust.swarm"] = page.auth_required_if_enabled(swarm)  # type: ignore[no-untyped-call]
