"""Hugging Face ids: a model is downloaded once and then read from the cache, also offline. A local
server takes the place of the Hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import segrid

FILES = {
    name: (Path(segrid.__file__).parent / "models/tiny" / name).read_bytes()
    for name in ("config.json", "model.safetensors", "segrid.json")
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Serves owner/tiny with all files, owner/plain without segrid.json, and owner/code with a
    pickle only."""

    asked: list[str] = []

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        Hub.asked.append(self.path)
        parts = self.path.strip("/").split("/")
        repo, name = "/".join(parts[:2]), parts[-1]
        files = {
            "owner/tiny": FILES,
            "owner/plain": {k: v for k, v in FILES.items() if k != "segrid.json"},
            "owner/code": {"pytorch_model.bin": b"x"},
        }.get(repo)
        if files is None or name not in files or parts[2:3] != ["resolve"]:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if files is None else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(files[name]).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(files[name])))
        self.end_headers()
        if body:
            self.wfile.write(files[name])

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def load(model, home, endpoint, **environment):
    """`Segmenter(model)` in a fresh process: the recommended IoU threshold and the id, or the
    error."""
    code = (
        f"import json, segrid\ntry:\n    s = segrid.Segmenter({model!r}); "
        "print(json.dumps([s.recommended['pred_iou_thresh'], s._engine.model_id]))\n"
        "except Exception as e: print(json.dumps([type(e).__name__, str(e)]))"
    )
    env = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_download_cache_offline(tmp_path, endpoint, tiny):
    assert load("owner/tiny", tmp_path, endpoint) == [0.5, tiny._engine.model_id]
    assert any(p.endswith("owner/tiny/resolve/main/model.safetensors") for p in Hub.asked)
    Hub.asked.clear()
    assert load("owner/tiny", tmp_path, endpoint, HF_HUB_OFFLINE="1") == [
        0.5,
        tiny._engine.model_id,
    ]
    assert not Hub.asked
    # The Hub is down.
    assert load("owner/tiny", tmp_path, "http://127.0.0.1:9", HF_HUB_ETAG_TIMEOUT="1")[0] == 0.5
    assert load("owner/plain", tmp_path, endpoint)[0] == 0.88


def test_a_revision(tmp_path, endpoint, tiny):
    Hub.asked.clear()
    assert load("owner/tiny@v1.2", tmp_path, endpoint) == [0.5, tiny._engine.model_id]
    assert Hub.asked and all("/resolve/v1.2/" in p or f"/resolve/{COMMIT}/" in p for p in Hub.asked)


@pytest.mark.parametrize(
    "model, words",
    [("owner/none", "nor, for this user, a repository"), ("owner/code", "segrid convert")],
)
def test_what_is_not_there(tmp_path, endpoint, model, words):
    kind, message = load(model, tmp_path, endpoint)
    assert kind == "FileNotFoundError" and words in message and model in message


def test_offline_without_cache(tmp_path, endpoint):
    kind, message = load("owner/tiny", tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert kind == "FileNotFoundError" and "HF_HUB_OFFLINE" in message


def test_importing_segrid_does_not_import_the_hub():
    assert (
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, segrid; segrid.Segmenter('tiny'); "
                "sys.exit('huggingface_hub' in sys.modules)",
            ]
        ).returncode
        == 0
    )
