"""The load of the transport `local`: processes that each decode and infer image after image.

There is no Locust in it, and no server: what it leaves is the limit that the cores set, in a folder
like any run's. `python -m bench.generator.cores` conducts it, and starts an asker for each user.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from bench.generator.recorder import Finished, Recorder
from bench.generator.schedules.pictures import scheduled
from bench.generator.session import Session
from bench.generator.spec import LoadSpec
from bench.prepare.images.sets import asked_with
from bench.record.scenario import parts
from pipelines import processes
from pipelines.errors import EngineError, ResultsError, VisiontaxError, complaint
from pipelines.processes import Child, logged
from pipelines.servers import malloc
from pipelines.topologies import choose
from pipelines.topologies.outcome import Outcome

READY = "asks"
WRITE_EVERY = 32
"""So many requests are written at a time: each that follows is due only then."""

LOOK_S = 0.1


class Asker:
    """One process's part: a user whose next request is due when the last one has ended."""

    def __init__(self, spec: LoadSpec, *, number: int) -> None:
        """Read the images, and ask once, which opens the models. Raises VisiontaxError."""
        asked, images = spec.scenario, asked_with(spec.scenario)
        self._images = [path.read_bytes() for path in images.paths]
        self._draw = scheduled(asked, images, worker=number)[1]
        self._pipelines = {name: choose.pipeline(part) for name, part in parts(asked).items()}
        self._name, self._folder, self._stopping = f"{number}", Path(spec.folder), False
        for pipeline in self._pipelines.values():
            pipeline(self._images[0], request_id="first")

    def stop(self) -> None:
        """Finish the request that goes on, then end."""
        self._stopping = True

    def ask(self) -> None:
        """Ask until it is to stop. Raises ResultsError when what came of it cannot be written."""
        recorder = Recorder(self._folder / f"requests-{os.getpid()}.jsonl", failed=_disk_failed)
        print(READY, file=sys.stderr, flush=True)
        due_ns = time.monotonic_ns()
        for number in itertools.count():
            if self._stopping:
                break
            done = self._ask(number, due_ns)
            due_ns = done.end_ns
            recorder.add(done)
            if number % WRITE_EVERY == 0:
                recorder.write()
                due_ns = time.monotonic_ns()
        recorder.close()

    def _ask(self, number: int, due_ns: int) -> Finished:
        pipeline, image = self._draw(number)
        request_id, outcome, error = f"{self._name}-{number}", Outcome(None), None
        start_ns = time.monotonic_ns()
        try:
            outcome = self._pipelines[pipeline](self._images[image], request_id=request_id)
        except VisiontaxError as raised:
            error = str(raised)
        except Exception as raised:  # as every user of a load: it took its time, and is on record
            error = str(EngineError(f"{type(raised).__name__}: {raised}"))
        times = (due_ns, start_ns, time.monotonic_ns())
        return Finished(request_id, pipeline, outcome, *times, error, image)


def _disk_failed(error: OSError) -> None:
    raise ResultsError(f"the records cannot be written: {error.strerror}")


def _conduct(spec: LoadSpec, *, total_s: float) -> None:
    """Have all askers ask for so long, and leave the run."""
    document = msgspec.json.encode(spec).decode()
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--load", document]
    folder = Path(spec.folder)
    with contextlib.ExitStack() as stack:
        askers = [
            Child(
                "a process of the load",
                [*command, "--ask", str(number)],
                log=folder / f"asker-{number}.log",
                is_ready=logged(READY),
            )
            for number in range(spec.scenario.users)
        ]
        stack.callback(_end, askers)
        for each in askers:
            each.wait_ready()
        session = Session(spec, images=asked_with(spec.scenario), users=len(askers))
        session.open_window(time.monotonic_ns(), run_time_s=total_s)
        until_s, lost = time.monotonic() + total_s, 0
        try:
            while time.monotonic() < until_s and not lost:
                time.sleep(LOOK_S)
                lost = sum(not each.alive for each in askers)
        finally:
            session.close_window()
            processes.stop_all(askers)
            session.finish(lost=lost)


def _end(askers: Sequence[Child]) -> None:
    """Leave no asker; what each had to say is kept only where it has failed."""
    processes.stop_all(askers)
    for each in askers:
        if each.log and not each.process.returncode:
            each.log.unlink(missing_ok=True)


@click.command()
@click.option("--load", required=True, help="The LoadSpec, as JSON.")
@click.option("--run-time", type=float, default=0.0, help="How long it asks, s.")
@click.option("--ask", type=int, help="The number of this asker.")
def command(load: str, run_time: float, ask: int | None) -> None:
    """Ask until the run time is over, or until SIGTERM."""
    malloc.keep_freed()
    spec = msgspec.json.decode(load, type=LoadSpec)
    if ask is None:
        processes.end_on_signals()
        with contextlib.suppress(KeyboardInterrupt):
            _conduct(spec, total_s=run_time)
        return
    asker = Asker(spec, number=ask)
    processes.end_on_signals(asker.stop)
    asker.ask()


if __name__ == "__main__":
    try:
        command()
    except VisiontaxError as error:
        print(complaint(error), file=sys.stderr, flush=True)
        sys.exit(os.EX_IOERR if isinstance(error, ResultsError) else 1)
