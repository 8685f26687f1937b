"""The tests of training need torch, OpenCV and safetensors; without them nothing is collected."""

from importlib.util import find_spec

if not all(find_spec(name) for name in ("torch", "cv2", "safetensors")):
    collect_ignore_glob = ["test_*.py"]
