"""Tracks without labels: what moves before a background that stands still."""

import av
import cv2
import numpy as np
import pytest

from training.video import pseudo
from training.video.clips import Maker, Sequences

SIZE = (180, 320)
COUNT = 16


def background():
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.float32), (0, 0), 6)
    return np.clip(128 + 3 * (soft - 128), 60, 200)


@pytest.fixture(scope="module")
def clip():
    """Frames and the true masks of a disc that enters, crosses and leaves a background whose light
    changes. Its shadow moves with it, and a lamp flickers without moving."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    frames, masks = [background().astype(np.uint8)], [np.zeros(SIZE, bool)]
    for t in range(COUNT):
        at = 20 + 20 * t
        frame = background() * (1 - 0.01 * t)
        frame[np.hypot((x - at - 24) / 2, y - 118) < 16] *= 0.8  # the shadow
        disc = np.hypot(x - at, y - 90) < 30
        frame[disc] = (220, 40, 30)
        if t % 2:
            frame[10:40, 280:310] = (250, 250, 160)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
        masks.append(disc)
    return frames, masks


def test_what_moves_has_a_track(clip):
    frames, masks = clip
    (track,) = pseudo.tracks_of(frames, frames[0])
    assert len(track.masks) >= COUNT - 2
    assert all(pseudo.iou(mask, masks[index]) > 0.9 for index, mask in track.masks.items())


def test_a_shadow_is_not_part_of_it(clip, monkeypatch):
    """Without the rule the difference has the shadow, too."""
    frames, masks = clip
    found = pseudo.differs(frames[9], frames[0])
    assert pseudo.iou(found, masks[9]) > 0.9
    monkeypatch.setattr(pseudo, "SHADOW", (1.0, 0.0))
    assert pseudo.iou(pseudo.differs(frames[9], frames[0]), masks[8]) < 0.85


def test_frames_on_which_it_stands_still_are_left_out(clip):
    frames, masks = clip
    waiting = frames[:9] + [frames[8]] * 20 + frames[9:]
    (track,) = pseudo.tracks_of(waiting, frames[0])
    assert len(track.masks) <= COUNT + 1


def test_training_reads_what_is_written(clip, tmp_path, monkeypatch):
    """A clip becomes a sequence, which is cut into training clips."""
    frames, _ = clip
    (tmp_path / "videos").mkdir()
    with av.open(str(tmp_path / "videos/disc.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.height, stream.width, stream.bit_rate = *SIZE, 8_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    monkeypatch.setattr(pseudo, "CLIPS", {"disc": 0})
    lengths = pseudo.write(tmp_path, tmp_path / "out")
    assert list(lengths) == ["disc-00"] and lengths["disc-00"] >= COUNT - 2

    maker = Maker(size=128, real_share=1, coarse_share=0)
    maker.davis = maker.pseudo = Sequences(tmp_path / "out", lambda name: True)
    assert maker.pseudo.names == ["disc-00"]
    made = maker.clip(np.random.default_rng(1), 3, 1)
    assert made.frames.shape == (3, 128, 128, 3) and made.masks[0].any()
