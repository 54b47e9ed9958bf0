"""Where the parts of a checkout are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "triton_repo"
BACKENDS = ROOT / "triton_backends"
BUILD = ROOT / "build"
