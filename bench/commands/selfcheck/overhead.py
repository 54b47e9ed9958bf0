"""`bench selfcheck overhead`: what tracing and recording cost, as a ratio of throughputs.

One load runs on while both are turned off and on again every few seconds, in the order ABBA, so
that the machine's drift hits both alike. The served requests are counted by Triton itself.
"""

import json
import signal
import time
import urllib.request
from functools import partial
from pathlib import Path

import click
import psutil

from bench.commands.selfcheck.rounds import Tick, options, show, take_turns
from bench.record import folders, scenario
from bench.runs.equipment import equipped
from bench.runs.run import Plan, start_load
from pipelines.errors import VisiontaxError
from pipelines.servers import control

SETTLE_S = 1.0
"""How long after each change nothing is counted."""


class SwitchedLoad:
    """A running load generator whose tracing and recording can be turned off and on."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._url = str(plan.settings.server)
        self._model = f"{plan.settings.pipeline}_{plan.settings.preprocess}"
        self._child = start_load(plan, folder)
        self._recording = True

    def wait(self, warmup_s: float) -> None:
        """Return when requests have been served for the warm-up."""
        deadline = time.monotonic() + 60
        while not self._served():
            if not self._child.alive or time.monotonic() > deadline:
                raise VisiontaxError("the load did not start", hint=f"see {self._child.log}")
            time.sleep(0.1)
        time.sleep(warmup_s)

    def record(self, *, wanted: bool) -> None:
        """Turn tracing, monitoring and recording on or off."""
        if wanted == self._recording:
            return
        self._recording = wanted
        for monitor in psutil.Process(self._child.process.pid).children():
            monitor.send_signal(signal.SIGCONT if wanted else signal.SIGSTOP)
        (control.turn_on if wanted else control.turn_off)(self._url)
        self._child.process.send_signal(signal.SIGUSR1)

    def throughput(self, seconds: float) -> float:
        """Return the requests per second that Triton serves in the coming seconds."""
        first, start = self._served(), time.monotonic()
        time.sleep(seconds)
        return (self._served() - first) / (time.monotonic() - start)

    def _served(self) -> int:
        url = f"http://{self._url}/v2/models/{self._model}/stats"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return int(json.load(reply)["model_stats"][0]["inference_count"])

    def stop(self) -> None:
        """End the load."""
        try:
            if self._child.alive:
                self.record(wanted=True)
        finally:
            self._child.stop()


@click.command()
@options(rounds=24, duration="4s")
def command(images: str, users: int, rounds: int, duration: float, folder: Path) -> None:
    """Measure what tracing and recording cost: throughput with them and without, in turn."""
    length_s = duration + SETTLE_S
    with equipped([scenario.Settings(images=images, users=users)]) as (settings,):
        plan = Plan(settings, duration_s=2 * rounds * length_s + 60, results=folder)
        load = SwitchedLoad(plan, folders.make_folder(folder, settings))
        try:
            load.wait(settings.warmup_s)

            def measure(_: Tick, *, wanted: bool) -> float:
                load.record(wanted=wanted)
                time.sleep(SETTLE_S)
                return load.throughput(duration)

            kinds = {"recorded": True, "unrecorded": False}
            taken = take_turns(
                {kind: (length_s, partial(measure, wanted=on)) for kind, on in kinds.items()},
                rounds=rounds,
            )
        finally:
            load.stop()
    show(taken)
