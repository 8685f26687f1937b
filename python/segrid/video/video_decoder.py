"""One pass of FFmpeg (PyAV) over a video file: pictures in the order in which they are shown."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from segrid._native import CorruptFileError
from segrid.image_files import formats
from segrid.video.av_library import av_library
from segrid.video.declared_length import declared_length
from segrid.video.pictures import reason

if TYPE_CHECKING:
    import av
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_PIXELS = 2**26  # of a frame: 8192 x 8192
MAX_COUNTED_BYTES = 32 << 20  # the largest file whose packets are counted
REORDERED = 32  # more packets than codecs put between decoding a picture and showing it

# The containers that are read (FFmpeg's names). Playlists and the like, which name other files or
# addresses, are not among them.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,ogg,flv,live_flv,asf,gif,"
    "apng,ivf,h264,hevc,av1,obu,vvc,nut,mxf,yuv4mpegpipe,dv,swf,rm,wtv,mjpeg"
)


class VideoDecoder:
    """Decodes the first video stream of an open file, on one thread.

    Attributes
    ----------
    header_count : the number of frames by the header, or 0
    claimed : that, or the number of packets of a small file; None where neither tells it, and for
        more frames than the file has bytes
    rate : frames per second on average, or None
    seconds_per_tick : the unit of a picture's `pts`
    failure : why no more pictures come, where that is not the end of the video

    Raises CorruptFileError for what is no video, for damaged headers and for frames above
    MAX_PIXELS; NotImplementedError for a codec that is not in this FFmpeg.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._av = av_library("reading videos")
        self._file, self._name = file, name
        # Taken before FFmpeg reads the file, whose position must then be left to it.
        self._length, self._declared = file.seek(0, os.SEEK_END), declared_length(file)
        self.failure: str | None = None
        self._ready: deque[VideoFrame] = deque()
        self._cut_packets: set[int] = set()  # times of packets that are not whole
        self._at_end = False
        self._begun = False  # whether a key frame was decoded, or a picture came
        self._packets_read = self.header_count = 0
        self._last_dts: int | None = None
        self._unfinished: int | None = None  # the time of the packet that is being decoded
        self._skipped: str | None = None  # why the packets before the first key frame were left out
        self._container, self._stream = self._opened()
        self._begin_packets()
        self.header_count = max(0, self._stream.frames)
        claimed = self.header_count or self._counted_packets()
        self.claimed = claimed if 0 < claimed <= self._length else None
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = float(rate) if rate else None
        self.seconds_per_tick = float(self._stream.time_base or math.nan)

    def restart(self) -> None:
        """Begins again with the first picture. Raises like the constructor."""
        self.close()
        self._container, self._stream = self._opened()
        self._begin_packets()

    def seek(self, pts: int) -> bool:
        """Goes to the last key frame at or before a time in ticks; False where that fails.

        After it, only pictures that decode without earlier ones come, from a key frame on."""
        try:
            self._container.seek(pts, stream=self._stream)
        except (self._av.FFmpegError, OSError):
            return False
        self._begin_packets(begun=True)
        return True

    def next(self) -> VideoFrame | None:
        """The next picture, or None at the end and where decoding fails (see `failure`).

        Raises MemoryError.
        """
        while not self._ready and not self._at_end:
            try:
                packet = next(self._packets, None)
                if packet is None:
                    self._at_end = True
                    self.failure = self.failure or (None if self._begun else self._skipped)
                elif packet.size:
                    self._decode(packet)
                else:  # after the last packet: the pictures that the decoder still holds
                    self._decode_rest(packet)
            except EOFError:
                self._at_end = True
            except MemoryError as error:
                raise MemoryError(self._no_memory(error)) from error
            except (self._av.FFmpegError, OSError) as error:
                self._fail(error)
        return self._ready.popleft() if self._ready else None

    def _decode(self, packet: Packet[VideoStream]) -> None:
        self._packets_read += 1
        if packet.is_corrupt and packet.pts is not None:
            self._cut_packets.add(packet.pts)
        self._last_dts, self._unfinished = packet.dts, packet.pts
        self._ready.extend(packet.decode())
        self._unfinished = None
        self._begun |= packet.is_keyframe or bool(self._ready)

    def _decode_rest(self, packet: Packet[VideoStream]) -> None:
        self._ready.extend(packet.decode())
        length, declared = self._length, self._declared or 0
        if declared > length and not 0 < self.header_count <= self._packets_read:
            self.failure = f"the file ends too early, after {length} of {declared} bytes"
            self._drop_from(None if self._last_dts is None else self._last_dts + 1)

    def _fail(self, error: Exception) -> None:
        """Ends the pass, after the pictures that the decoder still holds to put them in order.

        Recordings that were cut out of longer ones begin with packets that need earlier ones; those
        before the first key frame are skipped.
        """
        why = f"it cannot be decoded ({reason(error)})"
        if not self._begun:
            self._skipped = why
            return
        self.failure, self._at_end = why, True
        with contextlib.suppress(self._av.FFmpegError, OSError):
            self._ready.extend(self._stream.codec_context.decode(None))
        self._drop_from(self._first_missing())

    def _first_missing(self) -> int | None:
        """The earliest time, in ticks, at which a picture would be shown that is not decoded."""
        times = [] if self._unfinished is None else [self._unfinished]
        try:
            times += [p.pts for p in islice(self._packets, REORDERED) if p.pts is not None]
        except (self._av.FFmpegError, OSError):
            times.clear()
        # A packet is shown when it is decoded, or later.
        return min(times, default=None if self._last_dts is None else self._last_dts + 1)

    def _drop_from(self, pts: int | None) -> None:
        """Drops the pictures at the end of a pass before which others are missing."""
        self._ready = deque(p for p in self._ready if pts is None or p.pts is None or p.pts < pts)

    def put_back(self, picture: VideoFrame) -> None:
        """Makes a picture that `next` gave the next one again."""
        self._ready.appendleft(picture)

    def is_damaged(self, picture: VideoFrame) -> bool:
        """Whether the decoder or the container says that this picture's data is not intact."""
        return picture.is_corrupt or picture.pts in self._cut_packets

    def close(self) -> None:
        """Gives the decoder's memory back. The file stays open."""
        self._ready.clear()
        self._container.close()

    def _begin_packets(self, *, begun: bool = False) -> None:
        self._packets = self._container.demux(self._stream)
        self._ready.clear()
        self._cut_packets.clear()
        self._at_end, self._begun = False, begun
        self._packets_read, self._last_dts, self._unfinished = 0, None, None
        self._skipped = self.failure = None

    def _opened(self) -> tuple[av.container.InputContainer, VideoStream]:
        self._file.seek(0)
        head = self._file.read(formats.HEAD)
        self._file.seek(0)
        if not head:
            raise CorruptFileError(f"{self._name}: empty file")
        options = {
            "format_whitelist": CONTAINERS,
            "protocol_whitelist": "none",
            "max_pixels": str(MAX_PIXELS),
        }
        try:
            container = self._av.open(
                self._file, "r", options=options, metadata_errors="replace", buffer_size=1 << 16
            )
        except MemoryError as error:
            raise MemoryError(self._no_memory(error)) from error
        except (self._av.FFmpegError, ValueError, EOFError) as error:
            raise CorruptFileError(
                f"{self._name}: not a video that can be read ({_content(head) or reason(error)}); "
                "give an MP4, MOV, MKV, WebM, AVI or GIF file, or a folder of images"
            ) from error
        try:
            return container, self._checked(container)
        except BaseException:
            container.close()
            raise

    def _checked(self, container: av.container.InputContainer) -> VideoStream:
        """The stream of moving pictures, whose codec and size can be decoded."""
        cover = self._av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            held = sorted({s.type for s in container.streams if s.type != "video"})
            what = f"only {', '.join(held)}" if held else "nothing that can be shown"
            raise CorruptFileError(f"{self._name}: no video in this file, {what}")
        stream = streams[0]
        if stream.codec_context is None:
            raise NotImplementedError(
                f"{self._name}: this build of FFmpeg has no decoder for the video's codec; convert "
                "it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        width, height = stream.codec_context.width, stream.codec_context.height
        if not 0 < width * height <= MAX_PIXELS:  # FFmpeg clears a size that is too large for it
            size = f"{width} x {height} pixels" if width and height else "no size, or a larger one"
            raise CorruptFileError(
                f"{self._name}: frames of {size}; the limit is {MAX_PIXELS} pixels (MAX_PIXELS)"
            )
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream

    def _no_memory(self, error: MemoryError) -> str:
        return (
            f"{self._name}: FFmpeg did not get the memory that it needs ({reason(error)}); "
            "the file may be damaged"
        )

    def _counted_packets(self) -> int:
        """The number of packets, which is that of frames in nearly all files; 0 where it is not
        known."""
        if self._length > MAX_COUNTED_BYTES:
            return 0
        try:
            return sum(p.size > 0 and not p.is_discard for p in self._packets)
        except (self._av.FFmpegError, OSError):
            return 0
        finally:
            self.restart()


def _content(head: bytes) -> str | None:
    """What the beginning of a file that is no video is, or None."""
    kind = formats.read_as(head)
    if kind is not None:
        return f"it is an image ({kind})"
    named = formats.unread(head) or formats.no_image(head)
    if named is not None and "video" not in named:
        return f"it is {named}"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head) - 4 else "\0"
    return "it is text" if text.isprintable() or not set(text) & set(map(chr, range(9))) else None
