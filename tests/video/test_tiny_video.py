"""The packaged tracker: it follows what is easy, and it is what runs where no model is named."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segrid
from segrid.video.sources import open_frames

ROOT = Path(__file__).parents[2]
SIDE, FRAMES = 60, 8


def picture(index):
    """A red square on green, which moves to the right."""
    pixels = np.full((180, 320, 3), (90, 130, 100), np.uint8)
    pixels[60 : 60 + SIDE, 40 + 9 * index : 40 + SIDE + 9 * index] = (215, 45, 40)
    return pixels


CLIP = [picture(i) for i in range(FRAMES)]


@pytest.fixture(scope="module")
def tracker():
    return segrid.Tracker()


def test_it_follows_a_square(tracker):
    assert tracker.model_id == segrid.Tracker("tiny-video").model_id
    with tracker.open(CLIP) as session:
        session.add(1, points=[[70, 90]])
        session.add(2, boxes=[40, 60, 100, 120])
        session.add(3, mask=CLIP[0][:, :, 0] > 150)
        found = list(session.propagate())
    assert [frame.index for frame in found] == list(range(FRAMES))
    for frame in found:
        truth = CLIP[frame.index][:, :, 0] > 150
        for mask in frame.masks.array:
            assert (mask & truth).sum() / (mask | truth).sum() > 0.5, frame.index


def test_a_correction_moves_the_mask(tracker):
    """A mask of nothing takes the object away, and it stays away."""
    with tracker.open(CLIP, corrections_condition=True) as session:
        session.add(1, points=[[70, 90]])
        before = {frame.index: frame.masks.areas[0] for frame in session.propagate()}
        session.add(1, frame=4, mask=np.zeros((180, 320), bool))
        after = {frame.index: frame.masks.areas[0] for frame in session.propagate(start=4)}
    assert before[4] > 0 and after[4] == 0


def test_the_card(tracker):
    folder = Path(segrid.__file__).parent / "models/tiny-video"
    assert "**Not for**" in (folder / "README.md").read_text()
    size = (folder / "model.safetensors").stat().st_size
    assert 1e6 < size < 12e6 and tracker.side in (256, 384)


def test_the_demo(tmp_path):
    """The command of `make demo`, on the clip that it draws: both shapes are found by their names
    and followed, also the ball behind the post."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import demo_clip

    line = re.search(r"^\t\S*segrid (track .*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    words = re.findall(r'--prompt "([^"]*)"', line)
    assert "demo_clip.py out/demo/clip.mp4" in line and len(words) == 2
    clip = tmp_path / "clip.mp4"
    demo_clip.write(clip)
    with open_frames(clip) as frames:
        assert frames.size == demo_clip.SIZE[::-1] and frames.count == demo_clip.FRAMES
    prompts = [part for word in words for part in ("--prompt", word)]
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "track", str(clip), *prompts, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "`tiny-video`, the packaged tracker" in done.stderr  # what it is not for
    for file in ("clip_overlay.mp4", "clip_masks.json", "clip_tracks.csv"):
        assert (tmp_path / file).stat().st_size > 100
    rows = (tmp_path / "clip_tracks.csv").read_text().splitlines()[1:]
    assert {row.split(",")[2] for row in rows} == set(words)
