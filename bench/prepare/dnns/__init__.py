"""DNNs as ONNX, made from the weights of pinned packages."""
