"""One run from its first to its last moment: its folder, manifest, monitor and window."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.generator.monitor import Monitor
from bench.generator.spec import LoadSpec
from bench.prepare.images.sets import ImageSet
from bench.record import machine
from bench.record.folders import make_folder
from bench.record.records import SCHEMA, Manifest, write_images, write_manifest
from bench.record.scenario import Settings
from pipelines import tasks
from pipelines.errors import ServerError
from pipelines.paths import ROOT
from pipelines.processes import output_of
from pipelines.servers.control import device_of
from pipelines.topologies import choose

_log = logging.getLogger(__name__)


COOLDOWN_NS = 1_000_000_000
"""How much of the load's end does not count."""


class Session:
    """A run that is going on."""

    def __init__(self, spec: LoadSpec, *, images: ImageSet, users: int) -> None:
        """Make the folder and start the monitor, for a load of so many users.

        Raises ResultsError when that cannot be.
        """
        settings = msgspec.structs.replace(spec.scenario, users=users or spec.scenario.users)
        if settings.traced and settings.server:
            model = tasks.first_task(settings.pipeline).dnn.model
            settings = msgspec.structs.replace(
                settings, device=str(device_of(settings.server, model))
            )
        results = Path(spec.results)
        self.folder = Path(spec.folder) if spec.folder else make_folder(results, settings)
        stages = choose.stages(settings)
        self._manifest = Manifest(
            schema=SCHEMA,
            run=self.folder.name,
            settings=settings,
            image_sizes={
                "count": len(images.paths),
                **{name: images.median(name) for name in ("width", "height", "bytes")},
            },
            stages=stages,
            machine=machine.machine(),
            versions=machine.versions(),
            sha256=_checksums(stages, Path(spec.repository)),
            revision=_revision(),
            clock=_clock(),
            window_start_ns=time.monotonic_ns(),
            recorded=spec.recorded,
        )
        self._monitor = self._watching(settings, spec.workers) if spec.recorded else None
        write_images(self.folder, images.images)
        write_manifest(self.folder, self._manifest)
        if spec.recorded and settings.preprocess == "dali" and settings.place != "server-gpu":
            self._apportion(settings)

    def _watching(self, settings: Settings, workers: Sequence[int]) -> Monitor:
        server = settings.server if settings.traced else None
        try:
            return Monitor(self.folder, server=server, broker=settings.broker, workers=workers)
        except ServerError:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # there is no run
            raise

    def _apportion(self, settings: Settings) -> None:
        """Measure DALI's steps; a run whose images defeat that still has the whole box's time."""
        from bench.generator import apportion  # here: importing DALI takes most of a second

        try:
            apportion.start(self.folder, images=settings.images, pipeline=settings.pipeline)
        except ServerError as error:
            _log.warning("DALI's decode, resize and normalize stay one stage: %s", error)

    def open_window(self) -> None:
        """The load starts now; the measurement when the warm-up ends."""
        warmup_ns = round(self._manifest.settings.warmup_s * 1e9)
        self._manifest.window_start_ns = time.monotonic_ns() + warmup_ns
        write_manifest(self.folder, self._manifest)

    def close_window(self, *, cooldown_ns: int = COOLDOWN_NS) -> None:
        """The load stops now. The window ended so long ago, so that no request that counts was in
        flight while the generator was busy with stopping.
        """
        end = max(time.monotonic_ns() - cooldown_ns, self._manifest.window_start_ns)
        self._manifest.window_end_ns = end

    def finish(self, *, ends_ns: Sequence[int] | None) -> None:
        """Wait for the monitor to fetch the rest, and write the manifest for good.

        `ends_ns` are the ends of the successful requests, None where other processes know them.
        """
        if self._monitor:
            self._monitor.stop()
        start, end = self._manifest.window_start_ns, self._manifest.window_end_ns
        if ends_ns is not None and end is not None:
            self._manifest.completed = sum(start <= moment < end for moment in ends_ns)
        write_manifest(self.folder, self._manifest)


def _checksums(models: Iterable[str], repository: Path) -> dict[str, str]:
    """The sha256 of the models' files, by path inside the repository."""
    return {
        str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest()
        for model in models
        for path in sorted(repository.glob(f"{model}/1/model.*"))
    }


def _revision() -> str | None:
    """The git revision of our code, `+` appended when it was changed; None outside a checkout."""
    describe = ("describe", "--always", "--abbrev=40", "--dirty=+")
    return output_of("git", "-C", str(ROOT), *describe) or None


def _clock() -> dict[str, str | int]:
    return {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "monotonic_ns": time.monotonic_ns(),
        "unix_ns": time.time_ns(),
    }
