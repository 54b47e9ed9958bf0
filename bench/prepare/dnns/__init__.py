"""DNNs as ONNX files, made of the weights of pinned packages; what comes in makes one network, or
turns those of one format.
"""
