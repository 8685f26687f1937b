"""Bad video files (row 27): an error with the frame's index, and the frames before it stay."""

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.video import video_decoder
from segrid.video.sources import open_frames

from tests.video.clips import all_of, by_opencv, clip, clip_bytes, drawn, encode


def readable(frames):
    """The frames before the first error, and that error."""
    found = []
    try:
        while True:
            found.append(frames.read(len(found)))
    except Exception as error:
        return found, error


def holds_to_row_27(frames, least, original):
    """The first error names the frame; the frames before it are right, also read again."""
    found, error = readable(frames)
    assert isinstance(error, segrid.CorruptFileError)
    assert f"frame {len(found)}: " in str(error) and len(found) >= least
    for i in (*range(len(found)), 0, len(found) // 2):
        assert np.array_equal(frames.read(i), original[i])
    with pytest.raises(segrid.CorruptFileError, match=f"frame {len(found)}: "):
        frames.read(len(found))
    return found, error


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "webm"])
def test_row_27_truncated(tmp_path, ending):
    codec = {"avi": "mpeg4", "webm": "libvpx"}.get(ending, "libx264")
    whole = clip(tmp_path / f"a.{ending}", codec=codec, fragmented=ending == "mp4")
    original, data = by_opencv(whole), whole.read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(data[: len(data) * 8 // 10])
    with open_frames(cut) as frames:
        found, error = holds_to_row_27(frames, 3, original)
        assert len(found) < 30 and str(cut) in str(error)
        with pytest.raises(segrid.CorruptFileError):
            frames.read(29)
        assert frames.count is None or frames.count >= len(found)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_row_27_damaged_in_the_middle(tmp_path, ending):
    codec = "mjpeg" if ending == "avi" else "libx264"
    pixels = "yuvj420p" if ending == "avi" else "yuv420p"
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    whole = tmp_path / f"a.{ending}"
    encode(noise, str(whole), codec=codec, pixels=pixels)
    original, data = by_opencv(whole), bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        middle = [p.pos for p in container.demux(video=0) if p.size][15]
    start = middle + (50 if ending == "avi" else -100)  # AVI's reader searches the next frame
    data[start : start + 3000] = bytes(3000)
    bad = tmp_path / f"bad.{ending}"
    bad.write_bytes(data)
    with open_frames(bad) as frames:
        found, _ = holds_to_row_27(frames, 8, original)
        assert len(found) <= 15


@pytest.mark.parametrize("bad", [1, 2, 9])
def test_row_27_one_packet_is_damaged(tmp_path, bad):
    """Also one whose picture comes while the decoder still holds the first ones."""
    whole = clip(tmp_path / "a.mp4")
    original, data = by_opencv(whole), bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packet = [p for p in container.demux(video=0) if p.size][bad]
        at, size, shown = packet.pos, packet.size, round(packet.pts * packet.time_base * 10)
    data[at : at + size] = bytes(size)
    (tmp_path / "bad.mp4").write_bytes(data)
    with open_frames(tmp_path / "bad.mp4") as frames:
        found, _ = holds_to_row_27(frames, 1, original)
        assert len(found) <= shown


def test_row_27_a_recording_that_was_cut_out_of_another(tmp_path):
    """It begins with packets that need earlier ones; these count for nothing."""
    options = {"x264-params": "keyint=10:scenecut=0:bframes=0"}
    whole = clip(tmp_path / "a.h264", format="h264", options=options)
    original, data = by_opencv(whole), whole.read_bytes()
    starts = [m for m in range(len(data)) if data[m : m + 4] == b"\0\0\0\1"]
    second = next(m for m in starts if m > 1 and data[m + 4] & 31 == 1 and m > starts[4])
    with pytest.warns(UserWarning, match="counts 26 frames; it has 20"):
        found = all_of(open_frames(data[second:]))
    assert 9 < len(found) < 30
    assert all(np.array_equal(a, b) for a, b in zip(found[::-1], original[::-1], strict=False))


def test_row_27_the_size_changes(tmp_path):
    streams = []
    for size in ((64, 96), (80, 96)):
        file = io.BytesIO()
        encode((drawn(i, size) for i in range(9)), file, format="h264")
        streams.append(file.getvalue())
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(streams))
    with open_frames(path) as frames:
        found, error = readable(frames)
        rule = "a.h264: frame 9: 96 x 80 pixels, but the first frame has 96 x 64; the frames of a"
        assert len(found) == 9 and type(error) is ValueError and rule in str(error)
        assert np.array_equal(frames.read(2), found[2])


def audio():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return file.getvalue()


def picture(kind):
    file = io.BytesIO()
    Image.fromarray(drawn(0)).save(file, kind)
    return file.getvalue()


BAD = {
    "empty": (b"", "empty file"),
    "audio": (audio(), "no video in this file, only audio"),
    "text": (b"hello\nworld\n" * 900, "not a video that can be read .it is text"),
    "page": (b"<!DOCTYPE html><html>Not found</html>", "not a video that can be read .it is text"),
    "jpeg": (picture("JPEG"), "it is an image .JPEG.*a folder of images"),
    "png": (picture("PNG"), "it is an image .PNG"),
    "pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 20, "it is a PDF document"),
    "zeros": (bytes(5000), "not a video"),
    "noise": (random.Random(0).randbytes(5000), "not a video"),
    "no index": (clip_bytes()[:1500], "not a video that can be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_row_27_no_video(tmp_path, kind):
    data, rule = BAD[kind]
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(segrid.CorruptFileError, match=f"clip.mp4: .*{rule}"):
        open_frames(path)
    with pytest.raises(segrid.CorruptFileError, match=f"bytes: .*{rule}"):
        open_frames(data)


def test_row_27_playlists_open_no_other_file(tmp_path):
    other = clip(tmp_path / "other.ts", 3)
    playlist = tmp_path / "clip.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n")
    assert len(av.open(str(playlist)).streams.video) == 1, "vacuous"
    with pytest.raises(segrid.CorruptFileError, match="clip.m3u8: not a video .*it is text"):
        open_frames(playlist)


def test_row_27_no_frames():
    data = clip_bytes(fragmented=True)
    header = data[: data.index(b"moof") - 4]
    with pytest.raises(ValueError, match="bytes: no frames; a video needs at least one"):
        open_frames(header)


def test_row_27_no_frame_can_be_decoded():
    data = bytearray(clip_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
    with pytest.raises(
        segrid.CorruptFileError, match="frame 0: it cannot be decoded .*no frame can"
    ):
        open_frames(bytes(data))


def test_row_27_wrong_ending(tmp_path):
    whole = clip(tmp_path / "a.mkv", 3)
    wrong = whole.rename(tmp_path / "a.mp4")
    assert len(all_of(open_frames(wrong))) == 3


def test_row_27_unknown_codec():
    data = clip_bytes(3)
    data = data.replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC")
    with pytest.raises((NotImplementedError, segrid.CorruptFileError), match="codec|not a video"):
        open_frames(data)
    file = io.BytesIO()
    encode((drawn(i) for i in range(3)), file, codec="mpeg4", format="matroska")
    unknown = file.getvalue().replace(b"V_MPEG4/ISO/ASP", b"V_XXXXX/ISO/ASP")
    with pytest.raises(NotImplementedError, match="no decoder for the video's codec; convert it"):
        open_frames(unknown)


def test_row_27_huge_dimensions_in_the_header(monkeypatch):
    data = bytearray(clip_bytes(3, format="avi", codec="ffv1"))
    at = data.index(b"strf") + 12
    assert data[at : at + 8] == bytes((96, 0, 0, 0, 64, 0, 0, 0))
    data[at : at + 8] = bytes((255, 255, 0, 0, 255, 255, 0, 0))
    with pytest.raises(ValueError, match="bytes: frames of no size, or a larger one; the limit is"):
        open_frames(bytes(data))
    # Sizes that only the codec's own header tells.
    monkeypatch.setattr(video_decoder, "MAX_PIXELS", 96 * 64 - 1)
    for kind in ("mp4", "mpegts"):
        with pytest.raises(ValueError, match="the limit is 6143 pixels .MAX_PIXELS"):
            open_frames(clip_bytes(3, format=kind))


def test_row_27_slanted_rotation(tmp_path):
    with pytest.raises(NotImplementedError, match=r"turned by -?\d+ degrees; only multiples of 90"):
        open_frames(clip(tmp_path / "a.mp4", 2, turn=30))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        open_frames(tmp_path / "none.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match="not a file, but a pipe"):
        open_frames(tmp_path / "pipe.mp4")


def test_ffmpeg_prints_nothing(tmp_path):
    """Neither for damaged frames nor for headers."""
    data = bytearray(clip_bytes())
    data[700:1500] = bytes(800)
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    program = (
        "import sys\nfrom segrid.video.sources import open_frames\n"
        "for path in sys.argv[1:]:\n    try:\n        frames = open_frames(path)\n"
        "        [frames.read(i) for i in range(40)]\n    except (ValueError, IndexError):\n"
        "        print('failed')\n"
    )
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 99)
    command = [sys.executable, "-c", program, str(path), str(text)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "failed\nfailed\n" and done.stderr == ""


def test_row_27_fuzzed_containers(tmp_path):
    """Mutations of small clips in a process with limited memory: an error of the right kind or
    frames, and nothing hangs."""
    clips = [
        clip(tmp_path / "a.mp4", 12, turn=90),
        clip(tmp_path / "b.mp4", 12, codec="mpeg4", fragmented=True),
        clip(tmp_path / "c.mkv", 12),
        clip(tmp_path / "d.webm", 12, codec="libvpx"),
        clip(tmp_path / "e.avi", 12, codec="mjpeg", pixels="yuvj420p"),
        clip(tmp_path / "f.gif", 12, codec="gif", pixels="rgb8"),
        clip(tmp_path / "g.ts", 12),
    ]
    program = Path(__file__).with_name("fuzz_containers.py")
    command = [sys.executable, program, "210", *clips]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines())
    assert int(counts["errors"]) > 60 and int(counts["whole"]) > 20, "vacuous"
    assert float(counts["seconds"]) < 5  # the slowest one
    assert int(counts["peak"]) < 800  # MiB, of which torch's libraries are the most
