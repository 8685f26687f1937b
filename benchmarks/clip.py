"""The clip that the problem `video` runs on."""

import numpy as np

# Boxes of the objects in the first frame, as parts of its width and height.
BOXES = (
    (0.66, 0.3, 0.94, 0.7),
    (0.22, 0.55, 0.48, 0.95),
    (0.2, 0.08, 0.5, 0.42),
    (0.4, 0.4, 0.6, 0.6),
)


def clip(count, size, path=None):
    """(count, H, W, 3) uint8 frames of `size` (width, height): those of the video at `path`, else
    drawn blobs that move (tests/tracking/clip.py)."""
    if path is None:
        from tests.tracking.clip import blobs

        return blobs(count, *size)
    import av
    from PIL import Image

    frames = []
    with av.open(str(path)) as video:
        for frame in video.decode(video=0):
            frames.append(np.asarray(frame.to_image().resize(size, Image.BICUBIC)))
            if len(frames) == count:
                return np.stack(frames)
    raise ValueError(f"{path} has {len(frames)} frames; the problem needs {count}")


def boxes(count, size):
    """(count, 4) XYXY boxes in pixels."""
    return np.float32(BOXES[:count]) * np.float32([*size, *size])
