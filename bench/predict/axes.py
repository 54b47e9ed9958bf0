"""What a search for the best setting walks: axes, each with the changes that are tried on it."""

import os
from collections.abc import Sequence

from bench.ledger.grid.study import field_of
from bench.predict.tuning import Changes
from pipelines.errors import VisiontaxError
from pipelines.preprocess.choose import WAYS


def axes_of(
    cores: int, *, fixed: Sequence[str], only: Sequence[str], scaled: bool
) -> dict[str, list[Changes]]:
    """Return what is walked, in this order, but for what is `fixed`: options that were given.

    Decoding that is `scaled` changes answers a little, so it is walked only where that is allowed.
    """
    fewer_more = [str(one) for one in dict.fromkeys((1, 2 * cores)) if one != cores]
    known: dict[str, list[Changes]] = {
        "preprocess": [{"preprocess": way} for way in sorted(WAYS)],
        "decode": [{"decode": how} for how in ("careful", "scaled")] if scaled else [],
        "normalize": [{"normalize": "dnn"}],
        "topology": [{"topology": "fused"}],
        "transport": [{"transport": how} for how in ("grpc", "shm")],
        "inference-instances": [{"inference-instances": many} for many in fewer_more],
        "preprocess-instances": [{"preprocess-instances": many} for many in fewer_more],
        "threads": [
            {"threads": str(cores)},
            {"threads": str(cores), "inference-instances": "1"},
        ],
        "dnn-batch": [{"dnn-batch": "4"}],
    }
    if strange := [name for name in only if name not in known]:
        raise VisiontaxError(f"no axis {strange[0]!r}", hint=f"known: {', '.join(known)}")
    walked = {
        name: [one for one in tried if all(field_of(key) and key not in fixed for key in one)]
        for name, tried in known.items()
        if not only or name in only
    }
    return {name: tried for name, tried in walked.items() if tried}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
