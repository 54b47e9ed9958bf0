"""Served by Triton's python backend; the code is shared by every Python way to preprocess."""

from pipelines.triton_preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
