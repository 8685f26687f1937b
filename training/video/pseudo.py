"""Tracks without labels: `python -m training.video.pseudo DATA OUT`.

In two of the clips a camera that stands still sees cars and people before a background that is
empty on one frame. What differs from that frame in more than its light, which shadows change, is
something that moves. GrabCut finds its border; where it finds something else, the frame is left
out. OUT gets images/ and labels/ as the DAVIS set has them, one sequence for each track:
NAME-00000.jpg and NAME-00000.png, with 1 where the object is."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

# By clip: the frame that shows the background alone.
CLIPS = {"intel_car-detection": 0, "intel_one-by-one-person-detection": 0}
SIDE = 640  # of a frame, the longer one
DIFFERENCE = 22  # of 255, from which on a pixel is not background
SHADOW = (0.72, 0.06)  # the least light of a pixel, and the most by which its colours differ in it
AREA = (0.006, 0.4)  # of a frame
AGREEMENT = 0.8  # IoU of the difference with what GrabCut makes of it
OVERLAP = 0.35  # IoU of an object with itself on the next frame
CHANGE = 1.35  # of its area, at most
STILL = 0.93  # IoU with the last frame that was kept, from which on nothing moved
DISTANCE = 0.1  # of a frame's width that an object moves, at least
LENGTH = 8  # frames of a track, at least


@dataclass
class Track:
    """Frames by index with their masks (h, w) bool."""

    masks: dict = field(default_factory=dict)

    @property
    def last(self):
        """Index and mask of the last frame."""
        return next(reversed(self.masks.items()))


def frames_of(path):
    """The frames (h, w, 3) uint8 of a clip."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            scale = SIDE / max(pixels.shape)
            yield cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def differs(frame, background):
    """Bool (h, w): where a frame differs from the background in more than its light."""
    frame, background = frame.astype(np.float32), background.astype(np.float32)
    light = np.median((frame + 1) / (background + 1), (0, 1))
    soft, behind = (cv2.GaussianBlur(x, (0, 0), 1) for x in (frame, background * light))
    ratio = (soft + 8) / (behind + 8)
    shadow = (ratio.min(-1) > SHADOW[0]) & (ratio.max(-1) < 1) & (np.ptp(ratio, -1) < SHADOW[1])
    found = ((np.abs(soft - behind).max(-1) > DIFFERENCE) & ~shadow).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    found = cv2.morphologyEx(cv2.morphologyEx(found, cv2.MORPH_OPEN, disc), cv2.MORPH_CLOSE, disc)
    lines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(found, lines, -1, 1, cv2.FILLED).astype(bool)


def parts(mask):
    """The connected parts of a bool mask whose areas are within AREA, as bool masks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    low, high = (share * mask.size for share in AREA)
    return [labels == i for i in range(1, count) if low < stats[i, cv2.CC_STAT_AREA] < high]


def refined(frame, mask):
    """The mask with the border that GrabCut finds, or None where it finds something else."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15)))
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9)))
    if not inside.any():
        return None
    x, y, w, h = cv2.boundingRect(around)
    box = np.s_[max(0, y - 20) : y + h + 20, max(0, x - 20) : x + w + 20]
    kinds = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    kinds[inside > 0], kinds[around == 0] = cv2.GC_FGD, cv2.GC_BGD
    part, models = np.ascontiguousarray(kinds[box]), np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(frame[box], part, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    found = np.zeros_like(mask)
    found[box] = np.isin(part, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return found if iou(found, mask) >= AGREEMENT else None


def iou(a, b):
    """The IoU of two bool masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def follows(mask, before):
    """Whether a mask is the object of `before` one frame later."""
    grown = mask.sum() / before.sum()
    return iou(mask, before) >= OVERLAP and 1 / CHANGE < grown < CHANGE


def tracks_of(frames, background):
    """Tracks of what moves, on the frames on which it moved since the one before."""
    running, found = [], []
    for index, frame in enumerate(frames):
        going = []
        for mask in parts(differs(frame, background)):
            before = [track for track in running if follows(mask, track.last[1])]
            track = before[0] if len(before) == 1 else Track()
            track.masks[index] = mask
            going.append(track)
        found += [track for track in running if all(track is not other for other in going)]
        running = going
    moved = [Track(exact(frames, moving(track))) for track in found + running if travels(track)]
    return [track for track in moved if len(track.masks) >= LENGTH]


def travels(track):
    """Whether the middle of an object moves at all: reflections do not."""
    middles = [np.argwhere(mask).mean(0) for mask in track.masks.values()]
    return np.linalg.norm(np.ptp(middles, 0)) > DISTANCE * track.last[1].shape[1]


def moving(track):
    """The masks of a track without the frames on which the object stands still."""
    kept = Track()
    for index, mask in track.masks.items():
        if not kept.masks or iou(mask, kept.last[1]) < STILL:
            kept.masks[index] = mask
    return kept.masks


def exact(frames, masks):
    """Masks by frame, with exact borders where there are such."""
    found = {index: refined(frames[index], mask) for index, mask in masks.items()}
    return {index: mask for index, mask in found.items() if mask is not None}


def write(data, out):
    """Writes the tracks of CLIPS in data/videos; returns their names with their lengths."""
    out, lengths = Path(out), {}
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for clip, empty in CLIPS.items():
        frames = list(frames_of(Path(data) / "videos" / f"{clip}.mp4"))
        for number, track in enumerate(tracks_of(frames, frames[empty])):
            name = f"{clip}-{number:02d}"
            lengths[name] = len(track.masks)
            for place, (index, mask) in enumerate(track.masks.items()):
                stem = f"{name}-{place:05d}"
                picture = frames[index][..., ::-1]
                cv2.imwrite(str(out / "images" / f"{stem}.jpg"), picture)
                cv2.imwrite(str(out / "labels" / f"{stem}.png"), mask.astype(np.uint8))
    return lengths


def main():
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("data", help="folder of the sets")
    p.add_argument("out")
    args = p.parse_args()
    for name, length in write(args.data, args.out).items():
        print(f"{name}: {length} frames")


if __name__ == "__main__":
    main()
