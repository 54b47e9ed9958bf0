"""In what two runs are not alike: their settings, models, packages and revision."""

from collections.abc import Callable

from bench.record.manifest import Manifest
from bench.record.scenario import Settings
from pipelines.topologies.setting import flag, table

_NOT_COMPARED = ("pipeline", "seed", "warmup_s", "server", "grpc_port", "broker", "claims")

MADE_OF: dict[str, Callable[[Manifest], dict[str, object]]] = {
    "revision": lambda manifest: {"revision": manifest.revision},
    "models": lambda manifest: dict(manifest.sha256),
    "packages": lambda manifest: dict(manifest.versions),
}
"""What runs can differ in besides their settings; of models and packages those both have."""

THINGS = (*(name for name in Settings.__struct_fields__ if name not in _NOT_COMPARED), *MADE_OF)
"""What can be compared, by name."""

WORDS = {flag(field).removeprefix("--"): (field,) for field in table(Settings)} | {
    "server": ("served_by",),
    "repo": ("models",),
    "rev": tuple(MADE_OF),
}
"""What a side of `bench ab` can say, and the THINGS which that changes."""


def thing_of(manifest: Manifest, thing: str) -> dict[str, object]:
    """What a run has of one of the THINGS; only what two runs both have is compared."""
    if thing in MADE_OF:
        return MADE_OF[thing](manifest)
    settings = manifest.settings
    about = table(Settings).get(thing)
    if about and about.with_broker and not settings.brokered:
        return {}
    if thing in ("service_s", "service_times") and settings.transport != "fake":
        return {}
    found = {thing: getattr(settings, thing)}
    return found | manifest.image_sizes if thing == "images" else found


def differing(a: Manifest, b: Manifest) -> list[str]:
    """The THINGS in which two runs are not alike."""
    return [thing for thing in THINGS if _differs(thing_of(a, thing), thing_of(b, thing))]


def _differs(a: dict[str, object], b: dict[str, object]) -> bool:
    return any(a[name] != b[name] for name in a.keys() & b.keys())
