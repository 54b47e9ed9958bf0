"""Every way to preprocess, by name."""

WAYS = {
    "opencv": "pipelines.preprocess.ways:OpenCV",
    "pillow": "pipelines.preprocess.ways:Pillow",
    "dali": "pipelines.preprocess.dali_graph:Dali",
}
"""Where each way is; only the one that is used is imported."""
