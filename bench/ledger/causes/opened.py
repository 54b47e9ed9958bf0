"""A run whose server is one stage, opened as far as the server's own counters allow: by their means
its time becomes that of the models' stages, and what they do not have is the way there and back.
"""

import msgspec

from bench.ledger.models import ANOTHER, ENSEMBLE
from bench.ledger.quantiles import Quantile
from bench.ledger.summary import StageTime, Summary
from pipelines.spans import SERVER

_COLUMNS = {"queue": "queue_ms", "input": "input_ms", "output": "output_ms"}
_UNKNOWN = Quantile(None, None, None, needs=0)


def opened(summary: Summary) -> Summary:
    """Return the summary with such stages, of which only means and shares hold; itself where the
    server is not one stage, or does not count.
    """
    table, server, latency = summary.counters, summary.stages.get(SERVER), summary.latency_ms
    if not table or not server or not latency:
        return summary
    asked = sum(one.requests for one in table.models if one.model == summary.pipeline)
    means: dict[str, float] = {}
    for one in table.models:
        if asked and one.stage not in (ENSEMBLE, ANOTHER):
            parts = {stage: getattr(one, column) for stage, column in _COLUMNS.items()}
            for stage, each_ms in (*parts.items(), (one.stage, one.computing_ms)):
                means[stage] = means.get(stage, 0.0) + each_ms * one.requests / asked
    means["send"] = max(0.0, server.mean_ms - sum(means.values()))
    stages = {name: time for name, time in summary.stages.items() if name != SERVER}
    for stage, each_ms in means.items():
        before = stages.get(stage)
        mean_ms = each_ms + (before.mean_ms if before else 0.0)
        stages[stage] = StageTime(
            mean_ms,
            *(_UNKNOWN,) * 3,
            share=mean_ms / latency.mean,
            work_ms=mean_ms,
            apportioned=False,
        )
    return msgspec.structs.replace(summary, stages=stages)
