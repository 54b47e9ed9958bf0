"""`bench selfcheck brokers`: what each message broker costs by itself, and in a chain's hop.

A crop goes to an echo in a process of its own and a reply comes back: alone (zero load), and with
many under way (saturation). The kinds take turns, so that drift of the machine hits all alike.
"""

import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from bench.commands.options import run_options
from bench.commands.selfcheck.echo import BACK, BARE, MOST, THERE, link
from bench.commands.selfcheck.rounds import Tick, take_turns
from bench.prepare.images.sets import need_images
from bench.record import records, scenario
from bench.record.manifest import read_manifest
from bench.report.document import terminal
from bench.report.document.text import text_table
from bench.runs.equipment import SERVICE_OF, brokers, equipped
from bench.runs.run import Plan, execute, length_s
from pipelines import tasks
from pipelines.brokers import BROKERS, Broker
from pipelines.processes import Child, answered
from pipelines.spans import HOP, Request

KINDS = (BARE, *BROKERS)
IMAGES = "faces-1"
PAUSE_S = 0.02
"""Between two lone crops: about what a request takes elsewhere."""

_WARM_S = 0.3


@contextlib.contextmanager
def echoing(kind: str, url: str) -> Iterator[Broker]:
    """Yield a connection whose crops an echo answers."""
    command = [sys.executable, "-m", "bench.commands.selfcheck.echo", kind, url]
    echo = Child(f"the echo of {kind}", command, piped=True, is_ready=answered)
    with echo, contextlib.closing(link(kind, url)) as here:
        echo.wait_ready()
        here.take(BACK, most=1, wait_s=0)
        yield here


def alone(here: Broker, crop: bytes, *, seconds: float) -> float:
    """Return the median round trip, in ms, of one crop now and then, as at zero load."""
    trips: list[float] = []
    begin = time.monotonic()
    while time.monotonic() < begin + _WARM_S + seconds:
        time.sleep(PAUSE_S)
        start = time.monotonic_ns()
        here.put(THERE, [crop])
        while not here.take(BACK, most=1, wait_s=5.0):
            pass
        if time.monotonic() > begin + _WARM_S:
            trips.append((time.monotonic_ns() - start) / 1e6)
    return statistics.median(trips)


def saturated(here: Broker, crop: bytes, *, seconds: float) -> float:
    """Return how many crops a second come back with MOST of them under way."""
    here.put(THERE, [crop] * MOST)
    begin, counted, counting_since = time.monotonic(), 0, 0.0
    while time.monotonic() < begin + _WARM_S + seconds:
        back = len(here.take(BACK, most=MOST, wait_s=5.0))
        now = time.monotonic()
        if counting_since:
            counted += back
        elif now > begin + _WARM_S:
            counting_since = now
        if back:
            here.put(THERE, [crop] * back)
    per_s = counted / (time.monotonic() - counting_since)
    left = MOST
    while left and (back := len(here.take(BACK, most=MOST, wait_s=5.0))):
        left -= back
    return per_s


def hop_ms(request: Request) -> float | None:
    """Return the publish, broker and consume of a lone crop's way to the second stage and back.

    None unless the request had exactly one crop, and waited for it.
    """
    there = [s for s in request.spans if s.stage == "broker" and s.where == "second"]
    if len(there) != 1 or not there[0].critical:
        return None
    first_ns = there[0].start_ns
    return sum(
        (span.end_ns - span.start_ns) / 1e6
        for span in request.spans
        if span.stage in HOP
        and (span.where == "second" or (span.where == "client" and span.critical))
        and span.end_ns >= first_ns
    )


def chain_hops(folder: Path) -> list[float]:
    """Return `hop_ms` of every request that counted in a run."""
    manifest = read_manifest(folder)
    hops = (
        hop_ms(request)
        for request in records.read_requests(folder)
        if request.error is None and request.due_ns >= manifest.window_start_ns
    )
    return [hop for hop in hops if hop is not None]


def _of_kind(kind: str, url: str, crop: bytes, seconds: float, _: Tick) -> list[float]:
    """Return the round trip, in ms, of a lone crop, and how many of many come back a second."""
    with echoing(kind, url) as here:
        return [alone(here, crop, seconds=seconds), saturated(here, crop, seconds=seconds)]


@click.command()
@run_options(duration="2s", rounds=5)
def command(rounds: int, duration: float, folder: Path) -> None:
    """Compare the message brokers by themselves, and with the hop of a chain over Redis."""
    second = tasks.chain("faces").second.input
    crop = bytes(second.height * second.width * 3)
    need_images([IMAGES])
    chosen = scenario.Settings(pipeline="faces", images=IMAGES, topology="redis-streams")
    with equipped([chosen]) as (settings,), brokers(SERVICE_OF.values()) as urls:
        plan = Plan(settings, duration_s=2 * duration, results=folder)
        kinds: dict[str, tuple[float, Callable[[Tick], list[float]]]] = {
            kind: (
                2 * (duration + _WARM_S),
                partial(_of_kind, kind, urls[SERVICE_OF.get(kind, "redis")], crop, duration),
            )
            for kind in KINDS
        }
        takes_s = length_s(settings, plan.duration_s)
        kinds["chain"] = takes_s, lambda tick: chain_hops(execute(plan, tick=tick))
        taken = take_turns(kinds, rounds=rounds)
    hops = list(itertools.chain(*taken.pop("chain")))
    show(taken, hops, crop_bytes=len(crop))


def show(taken: dict[str, list[list[float]]], hops: list[float], *, crop_bytes: int) -> None:
    """Print medians over the rounds, and each kind's ratio to the one it is compared with."""
    medians = {
        kind: [statistics.median(values) for values in zip(*rounds, strict=True)]
        for kind, rounds in taken.items()
    }
    bare, streams = medians[BARE][0], medians["redis-streams"][1]
    rows = [
        (kind, f"{trip:.3f}", f"{trip / bare:.2f}", f"{rate:,.0f}", f"{rate / streams:.2f}")
        for kind, (trip, rate) in medians.items()
    ]
    table = text_table(("broker", "alone ms", "/ bare", "crops/s", "/ streams"), rows)
    lines = [f"{crop_bytes:,} bytes there, a reply back; medians of the rounds", "", *table]
    if hops:
        hop = statistics.median(hops)
        lines += [
            "",
            "a chain's publish + broker + consume of one crop over redis-streams, to the second",
            f"stage and back: {hop:.3f} ms, {hop / bare:.2f} of the bare echo ({len(hops)} crops)",
        ]
    terminal.show("\n".join(lines))
