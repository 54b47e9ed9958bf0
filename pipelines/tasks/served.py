"""The names under which Triton serves what preprocesses for a task's DNN, and the DNN itself; and
which models of a repository are not built.

`normalize` is one of NORMALIZES.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.tasks import Dnn
from pipelines.tasks.description import FILE
from pipelines.tasks.tensors import OF_PIXELS

_GPU = "_gpu"


def preprocessing(
    task: str, preprocess: str, *, place: str = "server", normalize: str = "preprocess"
) -> str:
    """Return the name of the model that makes the DNN's tensor at the place."""
    return f"preprocess_{ensemble(task, preprocess, place=place, normalize=normalize)}"


def ensemble(
    task: str, preprocess: str, *, place: str = "server", normalize: str = "preprocess"
) -> str:
    """Return the name of the model that takes a JPEG and gives the DNN's outputs."""
    at = _GPU if place == "server-gpu" else ""
    return f"{task}_{preprocess}{at}{OF_PIXELS if normalize == 'dnn' else ''}"


def fused(task: str, preprocess: str, *, normalize: str = "preprocess") -> str:
    """Return the name of the model that does what the ensemble does in one process."""
    return ensemble(f"{task}_fused", preprocess, normalize=normalize)


def preprocesses_on_gpu(model: str) -> bool:
    """Whether the model, or one it is made of, preprocesses on a GPU."""
    return model.removesuffix(OF_PIXELS).endswith(f"_dali{_GPU}")


def handed(dnn: Dnn) -> dict[str, str]:
    """Return how ensembles call each input of the DNN, which what preprocesses gives."""
    constants = {each.name: f"constant_{each.name}" for each in dnn.constants}
    return {dnn.input.name: "tensor", **constants}


def missing_models(repository: Path, models: Sequence[str] = ()) -> list[str]:
    """Return the models of the repository, and of `models`, that are not built.

    What preprocesses on a GPU is missed only where one of `models` does, and a DNN of pixels where
    it is one of them.
    """
    configs = {config.parent.name: config for config in repository.glob("*/config.pbtxt")}
    on_gpu = any(map(preprocesses_on_gpu, models))
    described = {path.parent.name for path in repository.glob(f"*/{FILE}")}
    ours = {name for name in configs if on_gpu or not preprocesses_on_gpu(name)}
    needed = described | {name for name in ours if not name.endswith(OF_PIXELS)}
    return sorted(
        name
        for name in needed | {*models} - {"*"}
        if name not in configs or not _built(configs[name])
    )


def _built(config: Path) -> bool:
    version = config.parent / "1"
    backend = re.search(r'backend: "(\w+)"', config.read_text())
    files = {"onnxruntime": "model.onnx", "dali": "model.dali", "python": "model.py"}
    if backend is None:
        return version.is_dir()
    return (version / files.get(backend[1], "")).exists()
