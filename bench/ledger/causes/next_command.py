"""The `bench` command to type after a run: the run again with one thing changed, both beside each
other, or a server of another size. Settings that are everybody's default are left out.

For what only Triton can do, another server is compared with Triton.
"""

from bench.ledger.summary import Summary
from bench.record.scenario import EACH, TENSOR, Settings
from pipelines.engines.serving import TRITON
from pipelines.topologies.names import DEFAULT_TOPOLOGY, INGESTED, NOBODY
from pipelines.topologies.setting import flag

_SETTINGS = (
    "only",
    "images",
    "preprocess",
    "decode",
    "place",
    "transport",
    "topology",
    "normalize",
    "answers",
    "crops",
    "workers",
    "batch",
)
_SMALLER = {"large": "medium", "medium": "small"}
_QUICKER = {"pillow": "opencv", "opencv": "dali"}
_USUAL = Settings(images="", topology=DEFAULT_TOPOLOGY)
_NOT_OFFERED = {
    "place": (NOBODY,),
    "transport": ("plain",),
    "preprocess": (NOBODY,),
    "images": (TENSOR, EACH),
}


def ab(summary: Summary, setting: str, other: str) -> list[str]:
    """Compare the run's value of the setting with another."""
    if _is_named(summary) and setting in ("transport", "place", "topology"):
        return _triton(summary)
    now = getattr(summary, setting)
    a, b = f"{setting}={now}", f"{setting}={other}"
    if now is None:  # what has no name is what there is without the setting
        a = f"preprocess={summary.preprocess}"
    if _is_named(summary):
        a, b = (f"server={summary.served_by}, {side}" for side in (a, b))
    return ["bench", "ab", *_settings(summary, without=setting), "--a", a, "--b", b]


def run(summary: Summary, *, users: int | None = None, device: str | None = None) -> list[str]:
    """Run it again, with other users or elsewhere."""
    if device and _is_named(summary):
        return _triton(summary)
    server = [flag("server"), summary.served_by] if _is_named(summary) else []
    return ["bench", "run", *_settings(summary, users=users, device=device), *server]


def smaller(summary: Summary) -> list[str] | None:
    """Compare the images with smaller ones, None where there are none."""
    other = _SMALLER.get(summary.images, "small")
    return ab(summary, "images", other) if summary.images != "small" else None


def quicker(summary: Summary, *, smaller_first: bool) -> list[str]:
    """Compare the preprocessing with what is likely to be quicker."""
    way = _QUICKER.get(summary.preprocess)
    images = smaller(summary)
    if way and not (smaller_first and images):
        return ab(summary, "preprocess", way)
    if fits_gpu(summary):
        return ab(summary, "place", "server-gpu")
    other = {"server-gpu": "server"}.get(summary.place)
    return images or (ab(summary, "place", other) if other else ab(summary, "preprocess", "opencv"))


def fits_gpu(summary: Summary) -> bool:
    """Whether the same preprocessing could go where the DNN is."""
    on_cpu = summary.place == "server" and summary.topology != "fused"
    return on_cpu and summary.preprocess == "dali" and summary.device != "cpu"


def serve(summary: Summary, option: str, instances: int) -> list[str]:
    """Serve its models with so many instances."""
    if _is_named(summary):
        return _triton(summary)
    return ["bench", "serve", summary.pipeline, option, f"{instances}", *_device(summary.device)]


def theirs(summary: Summary) -> bool:
    """Whether the server is somebody else's, of which nothing can be changed from here."""
    return summary.level is not None or summary.transport == INGESTED


def attach(summary: Summary, code: str) -> list[str]:
    """Load the server of the run again, with one thing changed that the cause `code` is about."""
    images, users = summary.images, summary.users
    transport = summary.transport
    if summary.level is None:  # production traffic: of its images and users nothing is known
        return ["bench", "attach", "URL", "--model", summary.pipeline, "--images", "FOLDER"]
    if code == "PREPROCESSING":
        images = _SMALLER.get(images, "small")
    elif code == "TRANSPORT":
        transport = "grpc" if transport != "grpc" else "http"
    else:
        users = max(1, users // 2) if code in ("QUEUE", "CLIENT", "OVERSUBSCRIBED") else 2 * users
    words = ["bench", "attach", summary.server or "URL", "--model", summary.pipeline]
    words += ["--images", images, "--users", f"{users}"]
    return words + ([] if transport == "http" else ["--transport", transport])


def _is_named(summary: Summary) -> bool:
    """Whether what serves is not Triton, and so can be asked in one way and has one size."""
    return summary.served_by != TRITON


def _triton(summary: Summary) -> list[str]:
    sides = ("--a", f"server={summary.served_by}", "--b", f"server={TRITON}")
    return ["bench", "ab", *_settings(summary), *sides]


def _settings(
    summary: Summary, *, without: str = "", users: int | None = None, device: str | None = None
) -> list[str]:
    words = [summary.pipeline]
    for name in _SETTINGS:
        value = getattr(summary, name)
        if name == without or value in (None, getattr(_USUAL, name), *_NOT_OFFERED.get(name, ())):
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
        words += [flag(name), text]
    words += ["--users", f"{summary.users if users is None else users}"]
    return words + _device(device or summary.device)


def _device(device: str) -> list[str]:
    return [] if device == "cpu" else ["--device", device]
