"""The names under which Triton serves what preprocesses for a task's DNN, and the DNN itself.

`normalize` is one of NORMALIZES.
"""

from pipelines.tasks import Dnn
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
