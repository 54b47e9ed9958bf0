"""The embedded server's drop-in backends, without the server around them."""

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import pytest

from pipelines import paths


def drop_in(name: str, monkeypatch: pytest.MonkeyPatch, **utils: Any) -> Any:
    """Load the module of a drop-in; `utils` are of the server's own module."""
    stub = ModuleType("triton_python_backend_utils")
    stub.__dict__.update(utils)
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    spec = importlib.util.spec_from_file_location(name, paths.BACKENDS / name / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def instance(model: str, **place: str) -> dict[str, str]:
    """What the server tells an instance when it starts."""
    outputs = [{"name": "tensor", "dims": [3, 224, 224]}, {"name": "size", "dims": [2]}]
    config = {"max_batch_size": 8, "input": [{"name": "jpeg"}], "output": outputs}
    on_cpu = {"model_instance_kind": "CPU", "model_instance_device_id": "0"}
    return {
        "model_config": json.dumps(config),
        "model_repository": str(paths.REPOSITORY / model),
        "model_version": "1",
        "model_name": model,
        **(on_cpu | place),
    }
