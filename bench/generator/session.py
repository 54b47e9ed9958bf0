"""One run from its first to its last moment: its folder, manifest, monitor and window."""

import contextlib
import hashlib
import logging
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from bench.generator.schedules.schedule import count, schedule_of
from bench.generator.spec import LoadSpec
from bench.generator.watching.monitor import Monitor
from bench.prepare.images.sets import ImageSet
from bench.record import generator_check, machine
from bench.record.folders import make_folder
from bench.record.hosts import clock
from bench.record.manifest import SCHEMA, Manifest, write_manifest
from bench.record.records import write_images
from bench.record.scenario import Settings, parts
from pipelines.errors import ResultsError, ServerError
from pipelines.paths import ROOT
from pipelines.processes import output_of
from pipelines.servers.control import device_of, served_by
from pipelines.topologies import choose

_log = logging.getLogger(__name__)


COOLDOWN_NS = 1_000_000_000
"""How much of the load's end does not count."""


def _inferring(settings: Settings, served: Collection[str]) -> str:
    """The model that has the first DNN, of those that are served: of preprocessing alone none is,
    and that model says as well where it runs.
    """
    first, *_ = parts(settings).values()
    stages = choose.stages(first)
    known = [name for name in stages if name in served]
    known.sort(key=lambda name: stages[name] != "inference")
    return next(iter(known), first.task.dnn.model)


class Session:
    """A run that is going on."""

    def __init__(
        self, spec: LoadSpec, *, images: ImageSet, users: int, shape: str | None = None
    ) -> None:
        """Make the folder and start the monitor, for a load of so many users, or as a load shape
        says.

        Raises ResultsError when that cannot be.
        """
        settings = msgspec.structs.replace(spec.scenario, users=users or spec.scenario.users)
        served = {}
        attached = spec.attached
        stages = attached.stages if attached else choose.stages(*parts(settings).values())
        if settings.traced and settings.server:
            served = served_by(settings.server, stages)
        if settings.traced and settings.server and not attached:
            where = device_of(settings.server, _inferring(settings, served))
            settings = msgspec.structs.replace(settings, device=str(where))
        results = Path(spec.results)
        self.folder = Path(spec.folder) if spec.folder else make_folder(results, settings)
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
            clock=clock(),
            window_start_ns=time.monotonic_ns(),
            source=attached.source if attached else None,
            served=served,
            shape=shape,
            generator=_generator_check(),
        )
        self._takes_turns, self._opened_ns = spec.paused, time.monotonic_ns()
        self._monitor = self._watching(settings, spec)
        write_images(self.folder, images.images)
        write_manifest(self.folder, self._manifest)
        asked, *others = parts(settings).values()
        # The steps' shares go by the size of a DNN's input: those of several have none in common.
        if not others and asked.preprocess == "dali" and asked.place != "server-gpu":
            self._apportion(asked)

    def _watching(self, settings: Settings, spec: LoadSpec) -> Monitor:
        server = settings.server if settings.traced or settings.named else None
        try:
            return Monitor(
                self.folder,
                server=server,
                traced=settings.traced and not spec.attached,
                grouped=settings.named,
                broker=settings.broker,
                workers=spec.workers,
            )
        except ServerError:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # there is no run
            raise

    def _apportion(self, settings: Settings) -> None:
        """Measure DALI's steps; a run whose images defeat that still has the whole box's time."""
        # Here: importing DALI takes most of a second.
        from bench.generator.watching import apportion

        try:
            apportion.start(self.folder, images=settings.images, pipeline=settings.pipeline)
        except ServerError as error:
            _log.warning("DALI's decode, resize and normalize stay one stage: %s", error)

    @property
    def clock(self) -> dict[str, Any]:
        """The anchor of the run's clock."""
        return self._manifest.clock

    def recorded_by(self, host: str) -> None:
        """A worker records on another host, under that tag: without its records none is whole."""
        if host not in self._manifest.hosts:
            self._manifest.hosts[host] = None
            write_manifest(self.folder, self._manifest)

    def open_window(self, start_ns: int, *, run_time_s: float | None = None) -> None:
        """The load starts at that moment, to take so long; the measurement when the warm-up ends.

        Without a run time it ends when somebody stops it.
        """
        warmup_ns = round(self._manifest.settings.warmup_s * 1e9)
        if run_time_s is not None:
            measured_ns = round(run_time_s * 1e9) - warmup_ns - COOLDOWN_NS
            self._manifest.duration_s = max(measured_ns, 0) / 1e9
        self._opened_ns = start_ns
        self._manifest.window_start_ns = self._opened_ns + warmup_ns
        write_manifest(self.folder, self._manifest)

    def close_window(self, *, cooldown_ns: int = COOLDOWN_NS) -> None:
        """The load stops now. The window ended so long ago, so that no request that counts was in
        flight while the generator was busy with stopping.
        """
        end = max(time.monotonic_ns() - cooldown_ns, self._manifest.window_start_ns)
        self._manifest.window_end_ns = end

    def finish(self, *, lost: int = 0) -> None:
        """Wait for the monitor to fetch the rest, and write the manifest for good; so many of the
        load's processes were lost.
        """
        self._monitor.stop()
        self._manifest.lost = lost
        start, end = self._manifest.window_start_ns, self._manifest.window_end_ns
        schedule = None if self._takes_turns else schedule_of(self._manifest.settings)
        if schedule and end is not None:
            window = {"start_ns": start - self._opened_ns, "end_ns": end - self._opened_ns}
            self._manifest.due = count(schedule, **window)
        write_manifest(self.folder, self._manifest)


def _checksums(models: Iterable[str], repository: Path) -> dict[str, str]:
    """The sha256 of the models' files, by path inside the repository."""
    return {
        str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest()
        for model in models
        for path in sorted(repository.glob(f"{model}/1/model.*"))
    }


def _generator_check() -> generator_check.GeneratorCheck | None:
    try:
        return generator_check.stored(machine.machine())
    except (ResultsError, OSError) as error:
        said = f"warning: {error}; 'bench selfcheck generator' makes it anew"
        print(said, file=sys.stderr, flush=True)
        return None


def _revision() -> str | None:
    """The git revision of our code, `+` appended when it was changed; None outside a checkout."""
    describe = ("describe", "--always", "--abbrev=40", "--dirty=+")
    return output_of("git", "-C", str(ROOT), *describe) or None
