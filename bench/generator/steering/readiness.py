"""What is checked, asked for and read before the first request of a load."""

import contextlib
import functools
import gc
import math

import gevent.monkey
import numpy as np
from locust.env import Environment

from bench.generator.schedules.pictures import scheduled
from bench.generator.spec import LoadSpec
from bench.generator.steering.spawning import shape_of
from bench.prepare.images.sets import ImageSet, asked_with
from bench.record.records import Image
from bench.record.scenario import TENSOR, Settings, parts
from pipelines import tasks
from pipelines.engines.serving import TITLES
from pipelines.errors import EngineError, ServerError, VisiontaxError
from pipelines.servers import control
from pipelines.tasks.tensors import TYPES
from pipelines.topologies import choose


@functools.cache
def let_grpc_wait() -> None:
    """Have a user who waits for gRPC leave the process to the others."""
    if gevent.monkey.is_module_patched("socket"):
        from grpc.experimental import gevent as grpc_gevent

        grpc_gevent.init_gevent()


def check(environment: Environment, asked: Settings) -> ImageSet:
    """Raise VisiontaxError when that cannot be run; the images that it is asked with."""
    asked.check()
    asked.check_broker()
    if asked.local:
        raise VisiontaxError(
            "the transport local is a load of its own, without Locust",
            hint="use 'bench run --transport local --place client'",
        )
    shape = shape_of(environment)
    if asked.open and shape:
        raise VisiontaxError(
            f"the load shape {shape} is a closed loop, and requests are to come at their own times",
            hint="leave the shape or the rate out; a rate may change too: 10/s..200/s in 60s",
        )
    images = _images_of(asked)
    scheduled(asked, images)
    return images


def spare_collector() -> None:
    """Keep what is there for good from the garbage collector: to look through it takes it 30 ms,
    for which all that is due would wait.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def ask_for_models(spec: LoadSpec) -> None:
    """Have the server load the models. Raises ServerError when it cannot."""
    asked = spec.scenario
    if asked.traced and not spec.attached:
        control.load(asked.server or "", choose.models(*parts(asked).values()))


def ask_once(asked: Settings, images: ImageSet) -> None:
    """Raise ServerError when it cannot be asked in this way: then the load could only fail."""
    if not (asked.traced or asked.named) or asked.broker or not images.paths:
        return
    for name, part in parts(asked).items():
        first = images.paths[images.of[name].start if images.of else 0]
        with contextlib.closing(choose.pipeline(part)) as ask:
            try:
                ask(first.read_bytes(), request_id="first")
            except EngineError as error:
                server = TITLES[asked.served_by]
                raise ServerError(
                    f"{server} does not answer a first request over {asked.transport}: {error}",
                    hint="its log says more; gRPC listens on --grpc-port, and tensors in shared "
                    "memory want a server on this host",
                ) from error


def _images_of(asked: Settings) -> ImageSet:
    """The images that are asked with; of inference alone the ready tensor stands in their place."""
    if not asked.alone:
        return asked_with(asked)
    wanted = tasks.task(asked.pipeline).dnn.input
    bytes_ = math.prod(wanted.shape) * np.dtype(TYPES[wanted.type]).itemsize
    return ImageSet(TENSOR, [], [Image(TENSOR, TENSOR, wanted.width, wanted.height, bytes_)])
