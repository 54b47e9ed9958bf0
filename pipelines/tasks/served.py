"""The names under which Triton serves what preprocesses for a task's DNN."""

from pipelines.tasks import Dnn

_GPU = "_gpu"


def preprocessing(task: str, preprocess: str, *, place: str = "server") -> str:
    """Return the name of the model that makes the DNN's tensor at the place."""
    return f"preprocess_{ensemble(task, preprocess, place=place)}"


def ensemble(task: str, preprocess: str, *, place: str = "server") -> str:
    """Return the name of the model that takes a JPEG and gives the DNN's outputs."""
    return f"{task}_{preprocess}{_GPU if place == 'server-gpu' else ''}"


def preprocesses_on_gpu(model: str) -> bool:
    """Whether the model, or one it is made of, preprocesses on a GPU."""
    return model.endswith(f"_dali{_GPU}")


def handed(dnn: Dnn) -> dict[str, str]:
    """Return how ensembles call each input of the DNN, which what preprocesses gives."""
    constants = {each.name: f"constant_{each.name}" for each in dnn.constants}
    return {dnn.input.name: "tensor", **constants}
