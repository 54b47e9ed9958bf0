"""DNNs as ONNX files, made of the weights of pinned packages: a module for each network or each
format of weights.
"""
