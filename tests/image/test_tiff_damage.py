"""TIFFs that are cut off, damaged or malicious give an image or an error that names the file,
within a bounded time and memory."""

import io
import logging
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import segrid
import tifffile
from PIL import Image
from segrid.measuring.memory import reset_peak, resident_mb

RNG = np.random.default_rng(3)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((64, 48), Image.BICUBIC)
)
DEEP = PHOTO[..., 0].astype(np.uint16) * 16


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def pillow(mode, **options):
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).convert(mode).save(buffer, "TIFF", **options)
    return buffer.getvalue()


FILES = {
    "rgb": tiff(PHOTO, photometric="rgb"),
    "lzw": tiff(PHOTO, photometric="rgb", compression="lzw", predictor=True),
    "jpeg": tiff(PHOTO, photometric="rgb", compression="jpeg"),
    "tiles": tiff(PHOTO, photometric="rgb", tile=(16, 32), compression="zlib"),
    "strips": tiff(DEEP, rowsperstrip=4),
    "zstd": tiff(DEEP, compression="zstd", rowsperstrip=4),
    "big": tiff(DEEP, bigtiff=True),
    "floats": tiff(DEEP.astype(np.float32), compression="zlib", predictor=3),
    "imagej": tiff(np.stack([DEEP] * 4), imagej=True, metadata={"axes": "CYX"}),
    "ome": tiff(np.stack([DEEP] * 4), ome=True, metadata={"axes": "CYX"}),
    "twelve": tiff(DEEP, bitspersample=12),
    "planar": tiff(
        np.moveaxis(PHOTO, -1, 0),
        photometric="rgb",
        planarconfig="separate",
        compression="packbits",
    ),
    "jpeg2000": tiff(PHOTO, photometric="rgb", compression="jpeg2000"),
    "webp": tiff(PHOTO, photometric="rgb", compression="webp"),
    "png": tiff(PHOTO, photometric="rgb", compression="png"),
    "jpegxl": tiff(PHOTO, photometric="rgb", compression="jpegxl"),
    "lerc": tiff(DEEP.astype(np.float32), compression="lerc"),
    "fax3": pillow("1", compression="group3"),
    "fax4": pillow("1", compression="group4"),
    "palette": pillow("P"),
    "inks": pillow("CMYK"),
    "alpha": pillow("LA"),
}


def survives(data, **options):
    try:
        image = segrid.read_image(data, **options)
        assert image.ndim == 3 and image.dtype == np.uint8
    except (ValueError, NotImplementedError, MemoryError) as error:
        assert str(error).startswith(("bytes: ", "empty file: bytes"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_damage_gives_an_error_or_an_image(kind):
    rng, whole = np.random.default_rng(len(kind)), FILES[kind]
    segrid.read_image(whole)
    reset_peak()
    began, before = time.monotonic(), resident_mb("VmHWM")
    for number in range(60):
        data = bytearray(whole)
        places = rng.integers(
            0, len(data) if number % 3 else min(len(data), 400), rng.integers(1, 12)
        )
        for at in places:
            data[at] = rng.integers(0, 256) if number % 2 else data[at] ^ 1 << rng.integers(0, 8)
        for lenient in (False, True):
            survives(bytes(data), lenient=lenient)
    assert time.monotonic() - began < 60
    assert resident_mb("VmHWM") - before < 2000, "too many MB of memory"


@pytest.mark.parametrize("kind", FILES)
def test_every_truncation(kind, tmp_path):
    whole = FILES[kind]
    path = tmp_path / "cut.tif"
    for end in sorted({*range(0, 16), *RNG.integers(8, len(whole), 25).tolist()}):
        path.write_bytes(whole[:end])
        try:
            segrid.read_image(path)
        except segrid.CorruptFileError as error:
            assert "cut.tif" in str(error)
        else:
            pytest.fail(f"{end} of {len(whole)} bytes are taken for an image") if end < len(
                whole
            ) * 0.6 else None


def cut(whole, share=0.6):
    """The file without the end of the pixels, which are its last part."""
    return whole[: int(len(whole) * share)]


@pytest.mark.parametrize("kind", ["strips", "zstd", "tiles"])
def test_lenient_gives_what_can_be_decoded(kind):
    whole = segrid.read_image(FILES[kind])
    with pytest.raises(segrid.CorruptFileError, match=r"TIFF truncated.*lenient=True"):
        segrid.read_image(cut(FILES[kind]))
    with pytest.warns(
        UserWarning, match=r"TIFF truncated: .*; \d+ of \d+ strips or tiles are left black"
    ):
        part = segrid.read_image(cut(FILES[kind]), lenient=True)
    assert part.shape == whole.shape and part[:4].any() and not part[-4:].any()
    if kind == "tiles":
        assert np.array_equal(part[:16], whole[:16])
    with pytest.raises(segrid.CorruptFileError, match="truncated"):
        # The file has one strip, of which nothing is left.
        segrid.read_image(cut(FILES["rgb"]), lenient=True)


def directory(tags, *, next_place=0, order="<", place=8):
    """A file of one directory with the tags (code, type, count, value)."""
    body = b"".join(struct.pack(order + "HHII", *tag) for tag in tags)
    return (
        {"<": b"II", ">": b"MM"}[order]
        + struct.pack(order + "HI", 42, place)
        + struct.pack(order + "H", len(tags))
        + body
        + struct.pack(order + "I", next_place)
    )


def picture(width=8, height=8, *, bits=8, strip=200, count=64, rows=8, **more):
    tags = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, bits),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, strip),
        277: (3, 1, 1),
        278: (4, 1, rows),
        279: (4, 1, count),
    } | {int(code): value for code, value in more.items()}
    return directory([(code, *tags[code]) for code in sorted(tags)]).ljust(300, b"\1")


HARMFUL = {
    "30000 x 30000": (
        picture(30_000, 30_000),
        "30000 x 30000 pixels; the limit is 200000000 pixels",
    ),
    "no width": (picture(0), "size"),
    "one strip far too long": (picture(count=2**31), "claim|truncated"),
    "a strip past the end": (picture(strip=2**31), "truncated"),
    "many samples": (picture(14_000, 14_000, **{"277": (3, 1, 65_535)}), "samples"),
    "eight bytes for each of many pixels": (
        picture(14_000, 14_000, bits=64, **{"277": (3, 1, 3), "284": (3, 1, 2), "262": (3, 1, 2)}),
        "take",
    ),
    "huge tiles": (
        picture(
            **{
                "322": (4, 1, 2**31 - 16),
                "323": (4, 1, 2**31 - 16),
                "324": (4, 1, 200),
                "325": (4, 1, 64),
            }
        ),
        "samples",
    ),
    "tiles without a size": (
        picture(**{"322": (4, 1, 0), "323": (4, 1, 16), "324": (4, 1, 200), "325": (4, 1, 64)}),
        "no size",
    ),
    "more strips than there are": (picture(8, 8000, rows=1), "strips or tiles"),
    "50 million strips": (picture(1, 50_000_000, rows=1), "strips or tiles has no 50000000"),
    "49 million tiles": (
        picture(
            7000,
            7000,
            **{"322": (3, 1, 1), "323": (3, 1, 1), "324": (4, 1, 200), "325": (4, 1, 1)},
        ),
        "strips or tiles has no 49000000",
    ),
    "a tag of 4 GB": (picture(**{"273": (4, 2**30, 100)}), "claim"),
    "a text of 4 GB": (picture(**{"270": (2, 2**32 - 1, 8)}), "claim"),
    "many tags that claim the whole file": (
        directory([(273, 4, 70, 8)] * 4000).ljust(50_000, b"\0"),
        "claim",
    ),
    "65535 tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(100), "directory"),
    "no directory": (b"II*\0\xff\xff\xff\x7f", "directory"),
    "a header alone": (b"MM\0*", "directory"),
    "BigTIFF with a count of 2**63": (
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8 + bytes(40),
        "directory",
    ),
    "RGB of one sample": (picture(**{"262": (3, 1, 2)}), "need 3"),
    "a palette that is missing": (picture(**{"262": (3, 1, 3)}), "palette"),
    "JPEG XR": (picture(**{"259": (3, 1, 22610)}), "JPEG XR"),
    "JPEG XR of the other number": (picture(**{"259": (3, 1, 34934)}), "JPEG XR"),
    "an unknown compression": (picture(**{"259": (3, 1, 9999)}), "compression"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_files_are_refused_from_their_tags(name, tmp_path):
    data, what = HARMFUL[name]
    path = tmp_path / "harm.tif"
    path.write_bytes(data)
    reset_peak()
    before, began = resident_mb("VmHWM"), time.monotonic()
    for source in (path, data):
        with pytest.raises((ValueError, NotImplementedError), match=what) as raised:
            segrid.read_image(source)
    assert "harm.tif" in str(raised.value) or "bytes: " in str(raised.value)
    assert time.monotonic() - began < 2
    assert resident_mb("VmHWM") - before < 100, "too many MB of memory"


def test_directories_that_overlap_are_refused_before_they_fill_the_memory():
    """Each page begins a cell of 8 bytes after the one before, and has 4096 tags of unknown types,
    so a small file would have 65536 pages."""
    tags, step = 4096, 6144  # the next place stands 12 x 4096 bytes = 6144 cells later
    count = 20_000
    cells = bytearray(struct.pack("<II", 0x00FF1000, 0x00FF00FF) * (count + 2 * step))
    start = 8
    for page in range(count):
        at = start + 8 * page
        cells[at - 8 : at - 6] = struct.pack("<H", tags)
    data = bytearray(b"II*\0" + struct.pack("<I", start)) + cells
    for page in range(count):
        place = start + 8 * page
        struct.pack_into("<H", data, place, tags)
    for page in range(count):
        place = start + 8 * page
        struct.pack_into("<I", data, place + 2 + 12 * tags, place + 8)
    reset_peak()
    before = resident_mb("VmHWM")
    with pytest.raises(segrid.CorruptFileError, match="directories of its first"):
        segrid.read_image(bytes(data))
    assert resident_mb("VmHWM") - before < 200


def test_directories_that_lead_back_to_themselves():
    loop, at = bytearray(picture()), 10 + 12 * 9
    loop[at : at + 4] = struct.pack("<I", 8)
    assert segrid.read_image(bytes(loop)).shape == (8, 8, 3)
    loop[at : at + 4] = struct.pack("<I", 10**6)
    with pytest.raises(segrid.CorruptFileError, match="page 1 is at byte 1000000"):
        segrid.read_image(bytes(loop))
    with pytest.warns(UserWarning, match="page 1 is at byte 1000000"):
        assert segrid.read_image(bytes(loop), lenient=True).shape == (8, 8, 3)
    stack = bytearray(tiff(np.stack([DEEP] * 3), photometric="minisblack", metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(stack))) as opened:
        places = [page.offset for page in opened.pages]
        last = places[2] + 2 + 12 * len(opened.pages[2].tags)
    stack[last : last + 4] = struct.pack("<I", places[1])
    with pytest.warns(UserWarning, match="3 in all"):
        assert segrid.read_image(bytes(stack)).shape == (*DEEP.shape, 3)


def test_a_tile_whose_own_header_is_a_bomb():
    data = bytearray(FILES["jpeg"])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(segrid.CorruptFileError, match="65000 x 65000"):
        segrid.read_image(bytes(data))
    data = bytearray(FILES["jpeg2000"])
    at = data.index(b"\xff\x4f\xff\x51")
    data[at + 8 : at + 16] = struct.pack(">II", 2**31, 2**31)
    with pytest.raises(segrid.CorruptFileError, match="JPEG 2000 image of"):
        segrid.read_image(bytes(data))


def test_a_sparse_tiff_is_empty_where_nothing_was_written():
    data = bytearray(FILES["strips"])
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as opened:
        tags = opened.pages[0].tags
        for code in (273, 279):
            size = {3: 2, 4: 4}[int(tags[code].dtype)]
            at = tags[code].valueoffset + 3 * size
            data[at : at + size] = bytes(size)
    image = segrid.read_image(bytes(data))
    assert not image[12:16].any() and image[:12].any() and image[16:].any()


def test_tifffile_says_nothing_and_is_left_as_it_was(caplog):
    # tifffile logs a tag of an unknown type as an error.
    odd = bytearray(picture(**{"65000": (99, 1, 0)}))
    with caplog.at_level(logging.DEBUG):
        segrid.read_image(bytes(odd))
    assert not caplog.records
    with caplog.at_level(logging.DEBUG):
        tifffile.TiffFile(io.BytesIO(bytes(odd)))
    assert caplog.records, "tifffile must log for its own users"


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
    paths = []
    for kind, whole in FILES.items():
        for number in range(6):
            data = bytearray(whole)
            for at in RNG.integers(0, len(data), number):
                data[at] ^= 255
            paths.append(tmp_path / f"{kind}{number}.tif")
            paths[-1].write_bytes(data if number else cut(whole))
    done = subprocess.run(
        [sys.executable, "-c", SILENT, *map(str, paths)], capture_output=True, text=True, check=True
    )
    assert done.stderr == done.stdout == ""


def test_many_threads_at_once():
    kinds = ["rgb", "lzw", "jpeg", "tiles", "zstd", "floats", "twelve", "fax4"]
    alone = {kind: segrid.read_image(FILES[kind]) for kind in kinds}
    wrong = []

    def work(shift):
        for kind in kinds[shift:] + kinds[:shift]:
            if not np.array_equal(segrid.read_image(FILES[kind]), alone[kind]):
                wrong.append(kind)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
