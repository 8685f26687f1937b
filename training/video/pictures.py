"""Contact sheets of tracks, one row per clip:
`python -m training.video.pictures FOLDER_OR_WEIGHTS --data DATA --out sheet.jpg`."""

import argparse

import cv2
import numpy as np
import torch

from .evaluate import load, procedural, sequences, track

WIDTH = 150  # of one frame on the sheet


def drawn(frame, found, truth):
    """A frame with the found mask in red and the outline of the truth in green."""
    picture = frame.astype(np.float32)
    picture[found] = picture[found] * 0.5 + np.array([255, 40, 40]) * 0.5
    picture = np.ascontiguousarray(picture.astype(np.uint8))
    lines, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, lines, -1, (0, 230, 0), max(1, frame.shape[1] // 250))
    return picture


def row(frames, found, truth, count):
    """`count` frames of a clip side by side."""
    at = np.linspace(0, len(frames) - 1, count).round().astype(int)
    height = round(WIDTH * frames.shape[1] / frames.shape[2])
    some = [drawn(frames[i], found[i], truth[i]) for i in at]
    return np.hstack([cv2.resize(s, (WIDTH, height), interpolation=cv2.INTER_AREA) for s in some])


def sheet(model, data, clips, count=8):
    """Rows of kept-out sequences, from the mask and from a click, and of procedural clips."""
    rows = []
    for _, frames, truth in sequences(data) if data else ():
        rows += [
            row(frames, track(model, frames, truth, k), truth, count) for k in ("mask", "click")
        ]
    for index, (_, frames, truth) in enumerate(procedural()):
        if index < clips:
            found = track(model, frames, truth, "mask" if index % 2 else "click")
            rows.append(row(frames, found, truth, count))
    return np.vstack(rows)


def main():
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("--data")
    p.add_argument("--out", required=True)
    p.add_argument("--clips", type=int, default=4, help="procedural clips on the sheet")
    args = p.parse_args()
    torch.set_num_threads(1)
    picture = sheet(load(args.model), args.data, args.clips)
    cv2.imwrite(args.out, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
