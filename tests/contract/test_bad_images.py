"""Bad and unusual images: rows 1 to 16 of the bad inputs in tests/README.md."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid._image import to_image


def pixels(image):
    return np.asarray(to_image(image).array)


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((120, 90), Image.BICUBIC))


@pytest.mark.parametrize("call", ["encode", "pipeline"])
def test_a_list_of_images_names_the_stream(photo, tiny, call):
    call = segrid.Pipeline(None, tiny) if call == "pipeline" else tiny.encode
    options = {} if call == tiny.encode else {"boxes": [[0, 0, 9, 9]]}
    pil = Image.fromarray(photo)
    for many in (["a.png"], [photo, photo[:9]], (pil, pil), [b"x"], np.stack([photo, photo])):
        with pytest.raises((TypeError, ValueError), match="for many images use segrid.stream"):
            call(many, **options)
    assert np.array_equal(pixels([list(row) for row in photo]), photo)  # rows of numbers


def test_row_01_paths(tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        tiny.encode(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        tiny.encode(tmp_path)
    locked = tmp_path / "locked.png"
    locked.write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    locked.chmod(0)
    if os.geteuid() == 0:  # Root may read everything, so a child process reads as nobody.
        tmp_path.chmod(0o755)
        code = (
            "import os, segrid\n"
            f"try: segrid.read_image({str(tmp_path / 'missing.png')!r})\n"
            # All modules are loaded before, because nobody may not read them.
            "except FileNotFoundError: pass\n"
            "os.seteuid(65534)\n"
            f"try: segrid.read_image({str(locked)!r})\n"
            "except PermissionError as e: print(type(e).__name__, e)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "PermissionError" in out and "locked.png" in out
    else:
        with pytest.raises(PermissionError, match="locked.png"):
            tiny.encode(locked)


@pytest.mark.parametrize("name, kind", [("pipe.png", "FIFO"), ("/dev/zero", "device")])
def test_endless_files_are_not_read(tmp_path, name, kind):
    """A child process with little memory reads the file: a read that goes on would not come
    back."""
    if name == "pipe.png":
        os.mkfifo(tmp_path / name)
    path = str(tmp_path / name)
    code = f"import segrid\ntry: segrid.read_image({path!r})\nexcept ValueError as e: print(e)"
    out = subprocess.run(
        ["bash", "-c", 'ulimit -v 8000000; exec "$0" -c "$1"', sys.executable, code],
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert out.startswith(f"{path}: not a file, but a ") and kind in out


def test_only_the_head_of_an_unknown_file_is_read(tmp_path):
    path = tmp_path / "huge.png"
    with open(path, "wb") as file:
        file.write(b"just some words\n")
        file.truncate(3 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(segrid.CorruptFileError, match="huge.png: not an image"):
            segrid.read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_bytes_of_every_kind(photo):
    data = png(photo)
    twice = memoryview(np.repeat(np.frombuffer(data, np.uint8), 2))
    for one in (bytearray(data), memoryview(data), twice[::2]):
        assert np.array_equal(segrid.read_image(one), photo)


def test_row_02_empty_file(tmp_path):
    path = tmp_path / "nothing.png"
    path.write_bytes(b"")
    with pytest.raises(segrid.CorruptFileError, match="empty file: .*nothing.png"):
        to_image(path)
    assert issubclass(segrid.CorruptFileError, ValueError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_row_03_truncated(photo, kind):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind)
    cut = buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3]
    with pytest.raises(segrid.CorruptFileError, match="truncated"):
        to_image(cut)
    if kind == "JPEG":
        with pytest.warns(UserWarning, match="truncated"):
            assert segrid.read_image(cut, lenient=True).shape == photo.shape


@pytest.mark.parametrize(
    "data,what",
    [
        (b"just some words", "text"),
        (b"<html><body>404</body></html>", "HTML"),
        (b"%PDF-1.7 ....", "PDF"),
    ],
)
def test_row_04_not_an_image(tmp_path, data, what):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(segrid.CorruptFileError, match=f"not an image.*{what}"):
        to_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_row_05_bit_flips_give_an_error_or_an_image(photo, kind):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind)
    whole = buffer.getvalue()
    generator = np.random.default_rng(7)
    for _ in range(60):
        data = bytearray(whole)
        for at in generator.integers(0, len(data), generator.integers(1, 20)):
            data[at] ^= 1 << generator.integers(0, 8)
        try:
            assert pixels(bytes(data)).ndim == 3
        except (ValueError, NotImplementedError, MemoryError):
            pass


def test_row_06_bomb_is_refused_from_its_header():
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="30000 x 30000 pixels; the limit is 200000000 pixels"):
        to_image(bomb)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (4, 20000)])
def test_row_07_extreme_shapes(tiny, shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    masks = tiny.predict(image, points=[[shape[1] / 2, shape[0] / 2]], multimask=True)
    assert masks.array.shape == (3, *shape)
    assert (
        (masks.boxes >= 0).all()
        and (masks.boxes[:, 2] < shape[1]).all()
        and (masks.boxes[:, 3] < shape[0]).all()
    )
    assert (
        tiny.everything(
            image, points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
        ).array.shape[1:]
        == shape
    )


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0,), (0, 0)])
def test_row_08_empty_arrays(shape):
    with pytest.raises(ValueError, match="empty"):
        to_image(np.zeros(shape, np.uint8))


def test_row_09_modes(photo):
    gray = photo[:, :, 0]
    assert (pixels(png(gray)) == gray[:, :, None]).all()
    alpha = np.dstack([photo, np.full(gray.shape, 9, np.uint8)])
    assert (pixels(png(alpha)) == photo).all()
    assert (pixels(alpha) == photo).all()
    assert (pixels(Image.fromarray(gray)) == gray[:, :, None]).all()
    gray_alpha = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(gray)])
    buffer = io.BytesIO()
    gray_alpha.save(buffer, "PNG")
    assert (pixels(buffer.getvalue()) == gray[:, :, None]).all()
    palette = Image.fromarray(photo).convert("P")
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    assert (pixels(buffer.getvalue()) == np.asarray(palette.convert("RGB"))).all()
    buffer = io.BytesIO()
    Image.fromarray(photo).convert("CMYK").save(buffer, "JPEG")
    assert pixels(buffer.getvalue()).shape == photo.shape


def test_row_10_dtypes(photo):
    assert (pixels(photo / 255.0) == photo).all()
    assert (pixels(photo.astype(np.float32)) == photo).all()
    assert (pixels(photo.astype(np.uint16) * 257) == photo).all()
    assert (pixels(png(photo[:, :, 0].astype(np.uint16) * 257)) == photo[:, :, :1]).all()
    assert (pixels(photo.astype(np.int32)) == photo).all()
    assert set(np.unique(pixels(photo > 99))) == {0, 255}
    for bad in (photo.astype(np.float32) - 300, photo / 255.0 * 1.5, photo.astype(np.int64) * 300):
        with pytest.raises(ValueError, match="values from"):
            to_image(bad)


def test_row_11_nan_and_inf(photo):
    bad = photo / 255.0
    bad[3, 4] = [np.nan, np.inf, 0]
    with pytest.raises(ValueError, match="2 of 32400 values are NaN or Inf"):
        to_image(bad)


def test_row_12_channel_order(photo):
    with pytest.raises(ValueError, match=r"transpose\(1, 2, 0\)"):
        to_image(photo.transpose(2, 0, 1))
    assert (segrid.read_image(photo[:, :, ::-1], bgr=True) == photo).all()


def test_row_13_memory_layouts(photo):
    read_only = photo.copy()
    read_only.flags.writeable = False
    wide = np.repeat(photo, 2, axis=1)[:, ::2]
    flipped = photo[::-1].copy()[::-1]
    big_endian = (photo.astype(">u2") * 257).astype(">u2")
    for layout in (read_only, wide, flipped, np.asfortranarray(photo), big_endian):
        assert (pixels(layout) == photo).all()


def test_row_14_array_changed_during_the_call(tiny, photo):
    expected = tiny.encode(photo).features.copy()
    changing = photo.copy()
    image = to_image(changing)
    stop = threading.Event()

    def scribble():
        while not stop.is_set():
            changing[:] = 255 - changing

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        assert np.array_equal(tiny.encode(image).features, expected)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_15_exif_orientation(photo, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {})):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(
            buffer, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options
        )
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))))
        ours = pixels(buffer.getvalue())
        assert ours.shape == upright.shape, kind
        assert np.abs(ours.astype(int) - upright).max() <= (4 if kind == "JPEG" else 0), kind
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    assert (pixels(opened) == upright).all()


def test_row_16_several_frames(photo):
    frames = [Image.fromarray(photo), Image.fromarray(255 - photo)]
    for kind in ("TIFF", "PNG"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        with pytest.warns(UserWarning, match="several frames or pages; the first"):
            assert (pixels(buffer.getvalue()) == photo).all()
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="2 frames"):
        assert pixels(buffer.getvalue()).shape == photo.shape
    with pytest.warns(UserWarning, match="frames"):
        assert pixels(Image.open(io.BytesIO(buffer.getvalue()))).shape == photo.shape


def test_builds_without_codecs_say_the_same_of_bad_files(photo, tmp_path, monkeypatch):
    """Rows 2, 3, 4, 6 and 16 hold where Pillow decodes, as it does in builds without OpenCV."""
    info = segrid._image._core.build_info()
    monkeypatch.setattr(segrid._image._core, "build_info", lambda: info | {"opencv": False})
    test_row_02_empty_file(tmp_path)
    for kind in ("PNG", "JPEG"):
        test_row_03_truncated(photo, kind)
    for data, what in ((b"just some words", "text"), (b"<html><body>404</body></html>", "HTML")):
        test_row_04_not_an_image(tmp_path, data, what)
    test_row_06_bomb_is_refused_from_its_header()
    test_row_16_several_frames(photo)
    odd = bytes(tmp_path) + b"/\xff.img"  # The name is not UTF-8.
    for kind in ("PNG", "TIFF", "BMP"):
        with open(odd, "wb") as file:
            Image.fromarray(photo).save(file, kind)
        assert np.array_equal(segrid.read_image(os.fsdecode(odd)), photo)
