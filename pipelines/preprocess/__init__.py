"""From a JPEG to the tensor that a DNN takes, in several ways that agree; no server, no task."""
