"""Whether a model that was added is served as it computes: one request in each way, answered as by
onnxruntime itself.
"""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np

from bench.prepare.own.onnx_file import OnnxFile, alike
from pipelines import paths
from pipelines.engines.engine import Engine
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import ServerError, VisiontaxError
from pipelines.preprocess.choose import WAYS
from pipelines.preprocess.ways import preprocessor
from pipelines.servers import control, triton
from pipelines.servers.sizing import Sizes
from pipelines.tasks import Task
from pipelines.tasks.served import ensemble
from pipelines.tasks.tensors import Tensors

_SIZE = (480, 640)
_SEED = 2


def picture() -> bytes:
    """Return a JPEG of soft noise, 640x480."""
    rough = np.random.default_rng(_SEED).integers(0, 256, (6, 8, 3), np.uint8)
    soft = cv2.resize(rough, _SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", soft)[1])


def check(task: Task, file: OnnxFile | None) -> Iterator[str]:
    """Yield each way in which the embedded Triton answers an image, as `file` does where there is
    one. Raises VisiontaxError when it does not.
    """
    folder = paths.BUILD / "serve" / f"add-{task.name}"
    with triton.start(folder, repository=paths.REPOSITORY, sizes=Sizes(1, 1)) as server:
        server.wait_ready()
        yield from answered(server.url, task, file)


def answered(url: str, task: Task, file: OnnxFile | None) -> Iterator[str]:
    """As `check`, by the Triton at the address `url`, which has the model in its repository."""
    image = picture()
    models = {way: ensemble(task.name, way) for way in WAYS}
    control.load(url, [task.dnn.model, *models.values()])
    with contextlib.closing(HttpEngine(url)) as engine:
        for way, model in models.items():
            made = preprocessor(way, task.dnn.input)(image)
            fed = task.dnn.feed(made.tensor[None])
            served = _asked(engine, model, {"jpeg": np.frombuffer(image, np.uint8)[None]}, task)
            expected = (
                file.run(fed, task.dnn) if file else _asked(engine, task.dnn.model, fed, task)
            )
            task.answer(task.dnn.of_one(served, 0), made.size)
            for name, value in expected.items():
                if not alike(served[name], value):
                    raise VisiontaxError(
                        f"Triton's {name} is not what onnxruntime computes, with {way}",
                        hint="an instance's threads or another version may round otherwise: "
                        "compare them yourself, or report it",
                    )
            yield way


def _asked(engine: Engine, model: str, inputs: Tensors, task: Task) -> Tensors:
    outputs = task.dnn.asked(1)
    try:
        return engine.infer(model, inputs, outputs=outputs, request_id="added").outputs
    except VisiontaxError as error:
        raise ServerError(f"Triton does not answer: {error}", hint=error.hint) from error
