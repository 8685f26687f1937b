"""Makes `training` importable from the checkout; its tests need torch, OpenCV and safetensors."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if not all(find_spec(name) for name in ("torch", "cv2", "safetensors")):
    collect_ignore_glob = ["test_*.py"]
