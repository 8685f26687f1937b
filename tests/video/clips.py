"""Small videos that the tests draw and encode, and their frames as OpenCV reads them."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import cv2
import numpy as np

SIZE = (64, 96)  # H, W

# Containers and codecs that differ in what they say of frames: times, their number, key frames.
KINDS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.h264": {"format": "h264"},  # neither times nor a number of frames
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=10"}},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video", "rate": 25},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "flv1.flv": {"codec": "flv1"},
    "gif.gif": {"codec": "gif", "pixels": "rgb8"},
    "apng.apng": {"codec": "apng", "pixels": "rgb24"},
}


def drawn(index, size=SIZE):
    """A frame: a square that moves to the right over a gradient, whose brightness tells the
    index."""
    height, width = size
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = np.linspace(20, 120, width, dtype=np.uint8)[:, None]
    frame[height // 2 :, :, 2] = index * 8 % 256
    left = index * 3 % max(1, width - 16)
    frame[height // 6 : height // 2, left : left + 16] = (250, 40, 30)
    return frame


def encode(frames, file, **how):
    """Encodes (H, W, 3) frames into an open file or a path.

    how : codec, rate, pixels, options, format, turn (degrees), matrix (that of the display), times
        (in ticks of 1 / rate), also fragmented=True
    """
    container = av.open(
        file,
        "w",
        format=how.get("format"),
        options={"movflags": "frag_keyframe+empty_moov"} if how.get("fragmented") else {},
    )
    rate = how.get("rate", 10)
    stream = container.add_stream(
        how.get("codec", "libx264"), rate=rate, options=how.get("options", {})
    )
    stream.codec_context.thread_count = 1  # more make x264's bytes differ between runs
    if "turn" in how:
        stream.set_display_rotation(how["turn"])
    if "matrix" in how:
        stream.set_display_matrix(how["matrix"])
    times = how.get("times")
    for i, pixels in enumerate(frames):
        if i == 0:
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = how.get("pixels", "yuv420p")
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frame.pts, frame.time_base = (times[i] if times else i), Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()


def clip(path, count=30, size=SIZE, **how):
    """Writes a video of `drawn` frames and returns its path."""
    encode((drawn(i, size) for i in range(count)), str(path), **how)
    return path


def clip_bytes(count=30, size=SIZE, **how):
    file = io.BytesIO()
    encode((drawn(i, size) for i in range(count)), file, **{"format": "mp4", **how})
    return file.getvalue()


def by_opencv(path):
    """The frames of a video, read by OpenCV: RGB, turned as the metadata says."""
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            return frames
        frames.append(frame[:, :, ::-1].copy())


def all_of(frames):
    """All frames by `read`, until there are no more."""
    found = []
    while True:
        try:
            found.append(frames.read(len(found)))
        except IndexError:
            return found
