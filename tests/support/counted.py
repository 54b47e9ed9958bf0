"""What Triton counts of its models, and the events in its trace between which it does."""

WHOLE, PREPROCESS, DNN = (
    *("classification_opencv", "preprocess_classification_opencv", "mobilenetv2"),
)
COUNTED = {
    "queue_ms": ("QUEUE_START", "COMPUTE_START"),
    "input_ms": ("COMPUTE_START", "COMPUTE_INPUT_END"),
    "computing_ms": ("COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"),
    "output_ms": ("COMPUTE_OUTPUT_START", "COMPUTE_END"),
}
"""The columns of its statistics' table, and the events between which Triton counts for them."""
