"""What requests come to by their pipeline, and by the size and the format of their image, where
these are mixed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from bench.ledger.attribution.table import Ledger
from bench.ledger.quantiles import Quantile, quantile
from bench.record.records import Image
from pipelines.spans import SERVER

SIZES = {0.1e6: "below 0.1 MP", 1e6: "0.1 to 1 MP", 10e6: "1 to 10 MP", float("inf"): "from 10 MP"}
"""Size classes, by the pixels that their images are below of."""

PREPROCESS = ("preprocess", "decode", "resize", "normalize")

PIPELINE = "pipeline"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one pipeline, or with images of one size class or of one format: `by` is
    PIPELINE, `size` or `format`.

    So many `images` of the run's are of it; of a pipeline, so many it answered about. `errors` of
    the `requests` failed. The times are in milliseconds: of the latency, its quantiles with their
    intervals, and the mean of `decode`, `resize`, `normalize` and `preprocess` together; None when
    no request succeeded, as `non_inference_share`, in 0..1.
    """

    by: str
    name: str
    images: int
    requests: int
    errors: int
    mean_ms: float | None = None
    p50_ms: Quantile | None = None
    p99_ms: Quantile | None = None
    preprocess_ms: float | None = None
    non_inference_share: float | None = None


def groups(ledger: Ledger, images: Sequence[Image], *, failed: Mapping[int, int]) -> list[Group]:
    """Return the groups that were asked with, none where all images are of one size and format.

    `failed` counts the requests without a result by their image, -1 where that is not known. Every
    image is one of `images`.
    """
    sizes = [_size(image) for image in images]
    formats = [image.format for image in images]
    return [
        *_grouped(ledger, sizes, by="size", order=list(SIZES.values()), failed=failed),
        *_grouped(ledger, formats, by="format", order=sorted(set(formats)), failed=failed),
    ]


def by_pipeline(ledger: Ledger, *, failed: Mapping[str, int]) -> list[Group]:
    """Return the groups of the pipelines that were asked, none of one alone; `failed` counts the
    requests without a result by their pipeline.
    """
    if ledger.pipeline is None or len(ledger.pipelines) < 2:
        return []
    found = []
    for name in sorted(ledger.pipelines):
        chosen = ledger.select(ledger.pipeline == ledger.pipelines.index(name))
        images = len(np.unique(chosen.image[chosen.image >= 0]))
        found.append(_group(chosen, by=PIPELINE, name=name, images=images, errors=failed[name]))
    return found


def _size(image: Image) -> str:
    pixels = image.width * image.height
    return next(name for below, name in SIZES.items() if pixels < below)


def _grouped(
    ledger: Ledger,
    names: Sequence[str],
    *,
    by: str,
    order: Sequence[str],
    failed: Mapping[int, int],
) -> Iterator[Group]:
    counts = Counter(names)
    if len(counts) < 2:
        return
    of = np.array([order.index(name) for name in names])
    place = np.where(ledger.image >= 0, of[ledger.image], -1)
    for index, name in enumerate(order):
        if counts[name]:
            errors = sum(n for image, n in failed.items() if image >= 0 and names[image] == name)
            chosen = ledger.select(place == index)
            yield _group(chosen, by=by, name=name, images=counts[name], errors=errors)


def _group(ledger: Ledger, *, by: str, name: str, images: int, errors: int) -> Group:
    requests = len(ledger.due_ns) + errors
    known: dict[str, Any] = {}
    if len(ledger.due_ns):
        told = ledger.told()
        latency_ms = np.sort(ledger.latency_ns / 1e6)
        inference = told.time_of("inference")
        known = {
            "mean_ms": float(latency_ms.mean()),
            "p50_ms": quantile(latency_ms, 0.5),
            "p99_ms": quantile(latency_ms, 0.99),
            "preprocess_ms": float(told.time_of(*PREPROCESS).mean()) / 1e6,
            "non_inference_share": None
            if told.time_of(SERVER).any()
            else 1 - int(inference.sum()) / max(1, int(told.latency_ns.sum())),
        }
    return Group(by=by, name=name, images=images, requests=requests, errors=errors, **known)
