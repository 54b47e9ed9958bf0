"""A server of somebody else's as a child process, on a port of this host."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.processes import HOST, Child


class Service(Child):
    """A running service; its log is `<folder>/<name>.log`, its `data` goes when it stops."""

    telling = "(?i)error|exception|fatal"

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        folder: Path,
        is_ready: Callable[[str], bool],
        data: Path | None = None,
        **how: Any,
    ) -> None:
        """Start it on `port` of HOST, `how` as a Child; `is_ready` asks the one at a host:port."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.url, self._data = port, f"{HOST}:{port}", data
        log = folder / f"{name.lower()}.log"
        super().__init__(name, command, log=log, is_ready=lambda _: is_ready(self.url), **how)

    def stop(self) -> None:
        """End it, and remove its data; the log stays."""
        try:
            super().stop()
        finally:
            if self._data is not None:
                shutil.rmtree(self._data, ignore_errors=True)
