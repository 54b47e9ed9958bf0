"""Where the parts of a checkout are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = "VISIONTAX_REPOSITORY"
"""The environment variable that names another model repository than the checkout's."""

REPOSITORY = Path(os.environ.get(ELSEWHERE) or ROOT / "triton_repo").resolve()
BACKENDS = ROOT / "triton_backends"
BUILD = ROOT / "build"
