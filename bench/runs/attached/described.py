"""From what a server says of a model to its description: what the load sends it."""

import msgspec

from bench.prepare.own.guess import Asked, constant_of, output_of
from bench.prepare.own.guess import described as guessed
from bench.prepare.own.stated import Seen
from bench.runs.attached.server import BINARY, Model, Server
from pipelines.errors import VisiontaxError
from pipelines.tasks.description import Description, Input
from pipelines.tasks.tensors import FED, TYPES


def transport_of(server: Server) -> str:
    """Return the way over HTTP that the server understands."""
    return "http" if BINARY in server.extensions or server.is_triton else "json"


def described(model: Model, asked: Asked) -> tuple[Description, list[str]]:
    """Return the description, and what was guessed. Raises VisiontaxError naming the option where
    there is nothing to go by.
    """
    if "/" in model.name or model.name.startswith("."):
        raise VisiontaxError(f"a model cannot be called {model.name!r} here")
    odd = [each for each in (*model.inputs, *model.outputs) if each.type not in TYPES]
    if odd:
        raise VisiontaxError(
            f"{model.name} has tensors of a type that is not known: {', '.join(map(str, odd))}"
        )
    named = [each for each in model.inputs if asked.input in (None, each.name)]
    files = [each for each in named if _takes_file(each)]
    shaped = [each for each in model.inputs if each.type in FED and len(each.shape) > 2]
    batch = model.batch if model.batch is not None else _batch(model)
    if files and (asked.input or not shaped):
        if len(files) > 1:
            raise VisiontaxError(
                f"several inputs could take an image's file: {', '.join(map(str, files))}",
                hint="say which with --input; the others want a --constant",
            )
        return _of_file(model, files[0], asked, batch), []
    about, said = guessed(
        model.inputs, model.outputs, asked, name=model.name, kind="tensor", batch=batch
    )
    about = msgspec.structs.replace(about, elsewhere=True)
    return about, [f"guessed: input {each}" for each in said]


def _takes_file(tensor: Seen) -> bool:
    """Whether it is one text of bytes, or a row of UINT8 of any length."""
    if tensor.type == "bytes":
        return len(tensor.shape) < 3
    return tensor.type == "uint8" and len(tensor.shape) in (1, 2) and tensor.shape[-1] == -1


def _batch(model: Model) -> int:
    """1 where every tensor leaves its first size open, as for a batch; else 0."""
    tensors = (*model.inputs, *model.outputs)
    return int(all(each.shape[:1] == (-1,) and len(each.shape) > 1 for each in tensors))


def _of_file(model: Model, image: Seen, asked: Asked, batch: int) -> Description:
    kind = "bytes" if image.type == "bytes" else "encoded"
    made = Input(
        name=image.name,
        height=1,
        width=1,
        fit="stretch",
        type=kind,  # type: ignore[arg-type]
        unbatched=len(image.shape) == 1,
    )
    others = [each for each in model.inputs if each.name != image.name]
    return Description(
        pipeline=model.name,
        elsewhere=True,
        batch=0 if made.unbatched else batch,
        input=made,
        outputs=tuple(output_of(each, batch) for each in model.outputs),
        constants=tuple(constant_of(each, asked, batch) for each in others),
        answer={"kind": "tensor"},
    )
