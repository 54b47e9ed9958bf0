"""A run on a server that is only attached to: described by what it says of itself, loaded as any
other, seen into as far as it lets us, and left as it was found.
"""

import contextlib
import functools
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from bench.generator.spec import Attached
from bench.prepare.images.sets import images_of
from bench.prepare.own.add import as_toml
from bench.record import folders, trace
from bench.record.foreign.ingested import computing, stages_of
from bench.record.foreign.traffic import executions, trees
from bench.record.manifest import ATTACHED, MANIFEST, Source, read_manifest, write_manifest
from bench.record.records import read_requests
from bench.record.scenario import Settings
from bench.runs.attached.levels import Ask, Level, Otlp, Statistics, Trace
from bench.runs.attached.server import Model, Server
from bench.runs.attached.setting import JOURNALS
from bench.runs.progress import Progress
from bench.runs.run import Plan, execute, length_s
from pipelines import paths, processes
from pipelines.engines.address import HEADERS
from pipelines.engines.choose import engine
from pipelines.errors import EngineError, ServerError
from pipelines.preprocess.ways import preprocessor
from pipelines.tasks import task_of
from pipelines.tasks.description import FILE, Description

SEEN = {
    "trace": "level (a): every request by the server's trace file",
    "otlp": "level (b): every request by the spans that the server exports",
    "statistics": "level (c): exact means of each model by the server's counters; of a single "
    "request the server is one stage",
    "client": "level (d): the client's side only; the server is one stage",
}
"""What each level shows."""

_UNSEEN = "what a model asks of its own server is seen only where it passes trace=request.trace()"


@dataclass(frozen=True)
class Wish:
    """What is asked for: `settings` with the server's address, of the pipeline that is its model.

    `stages` are those that the user said of models; `otlp_port` is where spans are received, None
    where they are not to be.
    """

    settings: Settings
    stages: Mapping[str, str]
    duration_s: float
    results: Path
    otlp_port: int | None = None


def attach(
    server: Server,
    model: Model,
    about: Description,
    wish: Wish,
    *,
    notes: list[str],
    say: Callable[[str], None] = lambda line: click.echo(line, err=True),
    tick: Callable[[], None] | None = None,
    enough: Callable[[Path], bool] = lambda _: False,
) -> Path:
    """Make the run and return its folder; `notes` is what was guessed of the model's input.

    `say` is told how far the server can be seen into; progress is shown unless there is a `tick`,
    of somebody who shows it. `enough` is as of `execute`.
    Raises ServerError when the server refuses a first request, VisiontaxError as `execute` does. A
    Ctrl-C leaves what was measured until then in the folder.
    """
    with _repository(model.name, about) as repository, contextlib.ExitStack() as stack:
        ask = _asker(wish.settings, model.name, about)
        if wish.otlp_port:
            stack.enter_context(_traceparent())
        ask(f"visiontax-{processes.owner()}-0")
        levels, name, reasons = _levels(server, model, ask, wish)
        for level in levels:
            stack.callback(_told, level.close)
        said = [SEEN[name], *reasons]
        for line in said:
            say(line)
        stages, guessed = stages_of(
            dict.fromkeys(model.parts, False), _among(model.parts, wish.stages)
        )
        source = Source(
            kind=ATTACHED, files=[], level=name, notes=[*said, *notes, *guessed.values()]
        )
        plan = Plan(
            wish.settings,
            wish.duration_s,
            results=wish.results,
            repository=repository,
            attached=Attached(stages=stages, source=source),
        )
        length = length_s(plan.settings, plan.duration_s)
        if tick:
            return _run(plan, levels, model, wish, tick=tick, enough=enough)
        with Progress(length) as progress:
            progress.step(plan.title, seconds=length)
            folder = _run(plan, levels, model, wish, tick=progress.tick, enough=enough)
            progress.done()
        return folder


def _run(
    plan: Plan,
    levels: list[Level],
    model: Model,
    wish: Wish,
    *,
    tick: Callable[[], None],
    enough: Callable[[Path], bool],
) -> Path:
    folder = folders.make_folder(plan.results, plan.settings)
    counters = [level for level in levels if isinstance(level, Statistics)]

    def both() -> None:
        tick()
        for each in counters:
            each.tick()

    try:
        execute(plan, folder=folder, tick=both, enough=enough)
    finally:
        if (folder / MANIFEST).exists():
            _finish(folder, levels, model, wish)
    return folder


def _finish(folder: Path, levels: list[Level], model: Model, wish: Wish) -> None:
    """Write what the levels have seen; models that only now turned out take part get a stage."""
    manifest = read_manifest(folder)
    for level in levels:
        _told(functools.partial(level.finish, folder, manifest))
    ours = {call.id for request in read_requests(folder) for call in request.calls}
    rows = trace.read(folder).itertuples(index=False, name=None)
    asks = computing(root for root in trees(executions(rows))[0] if root.request in ours)
    if manifest.source and asks:
        manifest.stages, guessed = stages_of(asks, _among(asks, wish.stages))
        others = [note for name, note in guessed.items() if name not in model.parts]
        unseen = [_UNSEEN] if model.asks and not any(asks.values()) else []
        manifest.source.notes += [*others, *unseen]
        write_manifest(folder, manifest)


def _told(do: Callable[[], None]) -> None:
    """Do it, and where the server does not answer any more, say so and go on."""
    try:
        do()
    except ServerError as error:
        again = "the next 'bench attach' of this server puts back what was changed"
        click.echo(f"warning: {error}; {again}", err=True)


def _among(models: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
    """What was said of these; of others it may be that these ask them."""
    return {name: stage for name, stage in given.items() if name in models}


def _levels(
    server: Server, model: Model, ask: Ask, wish: Wish
) -> tuple[list[Level], str, list[str]]:
    """Return the levels that can be had, the name of the best, and why it is not a better one."""
    levels: list[Level] = []
    reasons: list[str] = []
    if not server.is_triton:
        return levels, "client", []
    try:
        levels.append(Statistics(server.url))
    except ServerError as error:
        reasons.append(f"(c) is not to be had: {error}")
    if wish.otlp_port:
        return [Otlp(server.url, model.name, ask, port=wish.otlp_port), *levels], "otlp", []
    try:
        return [Trace(server.url, model.name, ask), *levels], "trace", []
    except ServerError as error:
        reasons.insert(0, f"(a) is not to be had: {error}")
    return levels, "statistics" if levels else "client", reasons


@contextlib.contextmanager
def _repository(model: str, about: Description) -> Iterator[Path]:
    """A folder in which the model is described, as the load reads it, while this lasts."""
    folder = JOURNALS / f"{processes.PREFIX}-{processes.owner()}-repository"
    (folder / model).mkdir(parents=True, exist_ok=True)
    (folder / model / FILE).write_text(as_toml(about, []), encoding="utf-8")
    try:
        with _environment(paths.ELSEWHERE, str(folder)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _traceparent() -> Iterator[None]:
    """Have all requests carry one trace context (W3C), by which Triton knows that it is to trace
    them.
    """
    line = f"traceparent: 00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    with _environment(HEADERS, "\n".join([os.environ.get(HEADERS, ""), line])):
        yield


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _asker(settings: Settings, model: str, about: Description) -> Ask:
    """Return what sends one request, as the load will."""
    dnn = task_of(model, about).dnn
    image = images_of(settings.images, preprocess=settings.preprocess).paths[0].read_bytes()
    tensor = (
        dnn.input.file(image)
        if dnn.input.encoded
        else preprocessor(settings.preprocess, dnn.input)(image).tensor
    )

    def ask(id: str) -> None:
        with contextlib.closing(engine(settings.transport, settings.asked_at)) as asked:
            try:
                asked.infer(model, dnn.feed(tensor[None]), outputs=dnn.asked(1), request_id=id)
            except EngineError as error:
                raise ServerError(
                    f"the server does not answer a first request to {model} over "
                    f"{settings.transport}: {error}",
                    hint=error.hint or "does it want another input? see 'bench attach --help'",
                ) from error

    return ask
