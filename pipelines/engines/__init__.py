"""One exchange with an inference server, by each transport: tensors in, tensors and timestamps
out; no image, no task.
"""
