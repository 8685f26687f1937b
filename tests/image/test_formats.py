"""Files other than TIFF: the rule for each kind, the kinds that are refused by name, and silence of
the codecs on stderr."""

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import cv2
import numpy as np
import pytest
import segrid
from PIL import Image, ImageFile, ImageOps
from segrid._image import ENDINGS, MAX_PIXELS

RNG = np.random.default_rng(1)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((64, 48), Image.BICUBIC)
)


def saved(kind, image=PHOTO, **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def read(data, **options):
    """segrid.read_image, where a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return segrid.read_image(data, **options)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png, name, data):
    """The PNG with a chunk after its header."""
    return png[:33] + chunk(name, data) + png[33:]


WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".jp2": "JPEG2000",
    ".j2k": "JPEG2000",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".gif": "GIF",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_that_is_looked_for_is_read(ending, tmp_path):
    mode = {".pgm": "L", ".pbm": "1", ".gif": "P"}.get(ending, "RGB")
    image = Image.fromarray(PHOTO).convert(mode)
    image.save(
        tmp_path / f"a{ending}", WRITERS[ending], **({"no_jp2": True} if ending == ".j2k" else {})
    )
    wanted = np.asarray(Image.open(tmp_path / f"a{ending}").convert("RGB"))
    assert np.array_equal(read(tmp_path / f"a{ending}"), wanted)
    (tmp_path / "named.wrongly").write_bytes((tmp_path / f"a{ending}").read_bytes())
    assert np.array_equal(read(tmp_path / "named.wrongly"), wanted)


def test_sixteen_bits_are_rounded_not_cut():
    deep = RNG.integers(0, 65536, (9, 11, 4), dtype=np.uint16)
    wanted = np.rint(deep / 257.0).astype(np.uint8)
    for channels in (3, 4):
        png = cv2.imencode(".png", deep[..., [2, 1, 0, 3][:channels]])[1].tobytes()
        assert np.array_equal(read(png), wanted[..., :3])
        assert np.array_equal(
            read(
                with_chunk(png, b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0")
            ),
            np.rot90(wanted[..., :3], -1),
        )
    gray = np.repeat(wanted[..., :1], 3, axis=2)
    assert np.array_equal(read(cv2.imencode(".png", deep[..., 0])[1].tobytes()), gray)
    assert np.array_equal(read(b"P5 11 9 65535\n" + deep[..., 0].astype(">u2").tobytes()), gray)
    assert np.array_equal(
        read(saved("JPEG2000", Image.fromarray(deep[..., 0]), irreversible=False)), gray
    )
    camera = deep[..., 0] // 16
    assert np.array_equal(
        read(b"P5 11 9 4095\n" + camera.astype(">u2").tobytes())[..., 0],
        np.rint(np.floor(camera / 4095 * 65535 + 0.5) / 257).astype(np.uint8),
    )


def test_portable_floats():
    values = (PHOTO[..., 0] / 255).astype("<f4")
    assert np.array_equal(
        read(b"Pf\n64 48\n-1.0\n" + values[::-1].tobytes())[..., 0], PHOTO[..., 0]
    )


FORMS = [
    ("PNG", "RGB", {}),
    ("PNG", "L", {}),
    ("PNG", "LA", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "1", {}),
    ("PNG", "P", {"bits": 4}),
    ("PNG", "P", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"subsampling": 0}),
    ("JPEG", "RGB", {"subsampling": 2}),
    ("JPEG", "L", {}),
    ("BMP", "RGB", {}),
    ("BMP", "L", {}),
    ("BMP", "P", {}),
    ("BMP", "1", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
]


@pytest.mark.parametrize("kind, mode, options", FORMS)
def test_the_pixels_are_those_of_pillow_and_opencv(kind, mode, options):
    image = (
        Image.fromarray(PHOTO).quantize(16) if mode == "P" else Image.fromarray(PHOTO).convert(mode)
    )
    data = saved(kind, image, **options)
    got = read(data)
    assert np.array_equal(got, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    opened = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(got, opened[:, :, ::-1])


def test_inks_of_a_jpeg():
    data = saved("JPEG", Image.fromarray(PHOTO).convert("CMYK"), quality=95)
    assert np.array_equal(read(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {})):
        data = saved(kind, exif=exif, **options)
        assert np.array_equal(
            read(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        ), kind


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_the_first_frame_with_a_warning(kind, tmp_path):
    path = tmp_path / "anim.img"
    frames = [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    frames[0].save(
        path,
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    with pytest.warns(
        UserWarning, match="anim.img: .*several frames or pages; the first one is used"
    ) as said:
        got = segrid.read_image(path)
    assert len(said) == 1
    if kind == "GIF":
        assert np.abs(got.astype(int) - PHOTO).mean() < 12
    else:
        assert np.array_equal(got, PHOTO)


REFUSED = {
    b"%PDF-1.7\n": (ValueError, "not an image, but a PDF document"),
    b"<svg xmlns='x'/>": (ValueError, "an SVG drawing"),
    b"<?xml version='1.0'?>\n<!-- x --><svg/>": (ValueError, "an SVG drawing"),
    b"PK\3\4abc": (ValueError, "a ZIP archive"),
    b"\0\0\0\x18ftypisom": (ValueError, "a video"),
    b"RIFF\0\0\0\0AVI LIST": (ValueError, "a video"),
    b"%!PS-Adobe": (ValueError, "PostScript"),
    b"\xef\xbb\xbf<!DOCTYPE html>": (ValueError, "not an image"),
    b"just words": (ValueError, "not an image, but text"),
    b"\0\0\0\x1cftypavif": (NotImplementedError, "an AVIF image"),
    b"\0\0\0\x18ftypheic": (NotImplementedError, "a HEIC image"),
    b"8BPS\0\1": (NotImplementedError, "PSD"),
    bytes(128) + b"DICM": (NotImplementedError, "DICOM"),
    b"\0\0\1\0\1\0": (NotImplementedError, "ICO"),
    b"FUJIFILMCCD-RAW 0201": (NotImplementedError, "raw"),
    b"II*\0\x10\0\0\0CR\2\0": (NotImplementedError, "CR2"),
    b"IIRO\x08\0\0\0": (NotImplementedError, "ORF"),
    b"\0\0\0\x18ftypcrx ": (NotImplementedError, "CR3"),
    b"IIU\0\x18": (NotImplementedError, "RW2"),
    b"\xff\x0a\xff": (NotImplementedError, "JPEG XL"),
    b"\0\0\0\x0cJXL \r\n\x87\n": (NotImplementedError, "JPEG XL"),
    b"v/1\1\2": (NotImplementedError, "OpenEXR"),
    b"gimp xcf file": (NotImplementedError, "GIMP"),
    b"\x89HDF\r\n\x1a\n": (NotImplementedError, "HDF5"),
    b"ZISRAWFILE": (NotImplementedError, "CZI"),
    b"\x93NUMPY\1\0": (NotImplementedError, "NumPy"),
}


@pytest.mark.parametrize(
    "data", REFUSED, ids=lambda data: data[-12:].decode("latin-1").encode("unicode_escape").decode()
)
def test_what_is_not_read_is_named(data, tmp_path):
    path, (error, what) = tmp_path / "photo.jpg", REFUSED[data]
    path.write_bytes(data.ljust(600, b" "))
    for source in (path, data.ljust(600, b" ")):
        with pytest.raises(error, match=what) as raised:
            segrid.read_image(source)
        assert "cannot be decoded" not in str(raised.value)
    assert issubclass(error, NotImplementedError) or isinstance(
        raised.value, segrid.CorruptFileError
    )


def test_odd_metadata_gives_no_warning():
    """Pillow warns of each of these files; segrid does not."""
    broken = b"Exif\0\0II*\0\x08\0\0\0\5\0\x1a\1\5\0\1\0\0\0\xff\xff\0\0" + bytes(4)
    jpeg = saved("JPEG")
    assert np.array_equal(
        read(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + jpeg[2:]),
        read(jpeg),
    )
    for name, data in (
        (b"iCCP", b"odd\0\0" + zlib.compress(b"no profile")),
        (b"eXIf", broken[6:]),
        (b"acTL", bytes(8)),
        (b"tEXt", b"a\0b"),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))),
    ):
        assert np.array_equal(read(with_chunk(saved("PNG"), name, data)), PHOTO), name
    clear = Image.fromarray(PHOTO).quantize(16)
    assert np.array_equal(
        read(saved("PNG", clear, transparency=bytes(range(16)))), np.asarray(clear.convert("RGB"))
    )
    with Image.open(io.BytesIO(saved("JPEG"))) as first:
        several = saved("MPO", first, save_all=True, append_images=[Image.fromarray(255 - PHOTO)])
    assert np.array_equal(read(several), np.asarray(Image.open(io.BytesIO(several)).convert("RGB")))


def test_the_limit_is_ours_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    # WebP is not among them, because its largest image is 16383 pixels square.
    for kind in (
        "PNG",
        "JPEG",
        "BMP",
        "GIF",
        "PPM",
        "JPEG2000",
    ):
        assert read(saved(kind)).shape == PHOTO.shape
    for data in (
        b"P5 30000 30000 255\n" + bytes(99),
        b"GIF89a\xff\xff\xff\xff\0\0\0" + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    ):
        with pytest.raises(ValueError, match=f"limit is {MAX_PIXELS}") as said:
            segrid.read_image(data)
        assert said.type is ValueError


SILENT = """
import sys, warnings
warnings.simplefilter("ignore")
import segrid
for path in sys.argv[1:]:
    for lenient in (False, True):
        try:
            segrid.read_image(path, lenient=lenient)
        except (ValueError, NotImplementedError):
            pass
"""


def test_nothing_on_stderr(tmp_path):
    """libpng, libjpeg and OpenCV write to stderr by themselves when a file is odd or damaged."""
    odd = [
        with_chunk(saved("PNG"), b"iCCP", b"odd\0\0" + zlib.compress(b"no profile")),
        saved("PNG") + b"more",
        saved("JPEG") + b"more",
    ]
    deep = cv2.imencode(".png", PHOTO.astype(np.uint16) * 257)[1].tobytes()
    header = deep[:33]
    odd += [
        with_chunk(deep, b"iCCP", b"odd\0\0" + zlib.compress(b"no profile")),
        header + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b""),
        header + chunk(b"IDAT", zlib.compress(b"\7" * 10**5)) + chunk(b"IEND", b""),
        header + chunk(b"IDAT", zlib.compress(b"short")) + chunk(b"IEND", b""),
    ]
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
        ("JPEG2000", {}),
    ):
        whole = saved(kind, **options)
        for number in range(12):
            data = bytearray(whole)
            for at in RNG.integers(len(data) // 3, len(data) - 4, number):
                data[at] ^= 1 << RNG.integers(0, 8)
            odd.append(bytes(data) if number else whole[: len(whole) * 2 // 3])
    for i, data in enumerate(odd):
        (tmp_path / f"{i}.img").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", SILENT, *(str(tmp_path / f"{i}.img") for i in range(len(odd)))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == done.stdout == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "PPM"])
def test_lenient_gives_what_can_be_decoded(kind):
    photo = np.asarray(Image.fromarray(PHOTO).resize((320, 240), Image.BICUBIC))
    whole = saved(kind, photo, **({"interlace": 0} if kind == "GIF" else {}))
    cut = whole[: len(whole) * 2 // 3]
    with pytest.raises(segrid.CorruptFileError):
        segrid.read_image(cut)
    with pytest.warns(UserWarning, match="truncated|decoded"):
        part = segrid.read_image(cut, lenient=True)
    top = read(whole)[:8]
    rows = part[-8:] if kind == "BMP" else part[:8]  # A BMP begins with the bottom row.
    assert part.shape == photo.shape and np.array_equal(
        rows, read(whole)[-8:] if kind == "BMP" else top
    )


def test_lenient_threads_do_not_change_strict_ones():
    whole = saved("BMP")
    cut, wrong, before = whole[: len(whole) // 2], [], ImageFile.LOAD_TRUNCATED_IMAGES

    def strict():
        for _ in range(60):
            try:
                segrid.read_image(cut)
                wrong.append("a truncated file was taken")
            except segrid.CorruptFileError:
                pass

    def lenient():
        for _ in range(60):
            assert segrid.read_image(cut, lenient=True).shape == PHOTO.shape

    threads = [threading.Thread(target=work) for work in (strict, lenient, strict, lenient)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong and ImageFile.LOAD_TRUNCATED_IMAGES is before


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_that_exceed_their_range_by_a_rounding(kind):
    step = np.finfo(kind).eps
    ones = np.clip(PHOTO / 255, 0.01, 1).astype(kind)
    ones[0, 0], ones[0, 1] = 1 + step, -step / 4
    assert np.array_equal(segrid.read_image(ones)[0, :2], [[255] * 3, [0] * 3])
    full = PHOTO.astype(kind)
    full[0, 0], full[0, 1] = 255 * (1 + float(step)), -step
    assert np.array_equal(segrid.read_image(full)[0, :2], [[255] * 3, [0] * 3])
    assert np.array_equal(segrid.read_image(full)[2:], PHOTO[2:])
    for bad in (1.01, 1.5, 256.5, 300, -0.6, -1):
        with pytest.raises(ValueError, match="float values from"):
            segrid.read_image(
                np.where(
                    np.arange(64)[None, :, None] == 5,
                    bad,
                    np.clip(PHOTO / 255, 0, 1) if abs(bad) < 2 else PHOTO * 1.0,
                )
            )
