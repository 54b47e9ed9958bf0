"""Every way to preprocess, by name."""

from __future__ import annotations

WAYS = {
    "opencv": "pipelines.preprocess.ways:OpenCV",
    "pillow": "pipelines.preprocess.ways:Pillow",
    "dali": "pipelines.preprocess.dali_graph:Dali",
}
"""Where each way is; only the one that is used is imported."""
