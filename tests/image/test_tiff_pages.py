"""TIFFs of several pages, channels and smaller copies; reading without imagecodecs."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
import segrid
import tifffile
from PIL import Image

from tests.reference.tiff import PHOTO, SIZE, gray, percentiles, pillow, read, tiff


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack"},
        {"imagej": True},
        {"ome": True},
        {"metadata": None},
        {"compression": "lzw", "tile": (16, 16)},
    ],
    ids=str,
)
def test_stacks(options, kind):
    stack = np.stack([np.roll(PHOTO[..., 0], 5 * z, axis=1) for z in range(5)]).astype(kind)
    named = {} if "metadata" in options else {"metadata": {"axes": "ZYX"}}
    with pytest.warns(
        UserWarning, match=r"several frames or pages; the first one is used \(5 in all\)"
    ) as said:
        got = segrid.read_image(tiff(stack, **({"photometric": "minisblack"} | options | named)))
    assert len(said) == 1
    assert np.array_equal(got, gray(stack[0] if kind == "uint8" else percentiles(stack[0])))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack"},
        {"imagej": True},
        {"ome": True},
        {"ome": True, "compression": "lzw"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "axes, shape",
    [
        ("CYX", (2,)),
        ("CYX", (3,)),
        ("CYX", (4,)),
        ("ZCYX", (5, 2)),
        ("CZYX", (3, 2)),
        ("TZCYX", (2, 3, 4)),
    ],
)
def test_channels_in_pages_of_their_own(axes, shape, options, kind):
    if options.get("imagej") and axes == "CZYX":
        pytest.skip("ImageJ's order is TZC")
    stack = (
        np.stack([np.roll(PHOTO[..., i % 3], 2 * i, axis=0) for i in range(int(np.prod(shape)))])
        .astype(kind)
        .reshape(*shape, *SIZE)
    )
    data = tiff(stack, **({"photometric": "minisblack"} | options), metadata={"axes": axes})
    first = np.moveaxis(stack, axes.index("C"), 0)
    channels = len(first)
    first = first.reshape(channels, -1, *SIZE)[:3, 0]
    parts = [c if kind == "uint8" else percentiles(c) for c in first]
    wanted = np.stack(parts + [np.zeros_like(parts[0])] * (3 - len(parts)), axis=-1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = segrid.read_image(data)
    assert np.array_equal(got, wanted)
    texts = [str(w.message) for w in said]
    assert sum("channels; the first three" in text for text in texts) == (channels > 3)
    assert sum("frames or pages" in text for text in texts) == (
        stack.size > first.size and np.prod(shape) > channels
    )


def test_pages_in_one_directory():
    """ImageJ's large stacks have one directory, and the other planes follow the first."""
    stack = np.stack([PHOTO[..., c].astype(np.uint16) * 9 for c in range(3)])
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, stack, photometric="minisblack", metadata={"axes": "CYX"}, truncate=True
    )
    assert len(tifffile.TiffFile(io.BytesIO(buffer.getvalue())).pages) == 1
    assert np.array_equal(
        read(buffer.getvalue()), np.stack([percentiles(c) for c in stack], axis=-1)
    )


def test_smaller_copies_and_masks_are_no_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PHOTO[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(PHOTO, photometric="rgb", metadata=None)
        writer.write(PHOTO[..., 0] > 9, subfiletype=4, metadata=None)
    assert np.array_equal(read(buffer.getvalue()), PHOTO)
    pyramid = io.BytesIO()
    with tifffile.TiffWriter(pyramid) as writer:
        writer.write(PHOTO, photometric="rgb", subifds=1, tile=(16, 16))
        writer.write(PHOTO[::2, ::2], photometric="rgb", subfiletype=1, tile=(16, 16))
    assert np.array_equal(read(pyramid.getvalue()), PHOTO)


def test_pages_of_other_sizes():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PHOTO, photometric="rgb")
        writer.write(PHOTO[:9], photometric="rgb")
    with pytest.warns(UserWarning, match="2 in all"):
        assert np.array_equal(segrid.read_image(buffer.getvalue()), PHOTO)


def test_only_the_first_page_is_read(tmp_path):
    """A stack that is far larger than its page is not read into memory."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((200, 256, 256), np.uint16), photometric="minisblack")
    counted = 0

    class Counting(io.FileIO):
        def read(self, size=-1):
            nonlocal counted
            data = super().read(size)
            counted += len(data)
            return data

    from segrid.image_files import tiff

    with Counting(path) as file:
        tiff.read(file, "stack.tif", max_pixels=10**8, lenient=False)
    assert counted < 4 * 256 * 256 * 2


WITHOUT = """
import sys, warnings
sys.modules["imagecodecs"] = None  # as where it is not installed
import numpy as np, segrid
for path in sys.argv[1:]:
    try:
        print("image", segrid.read_image(path).shape)
    except Exception as error:
        kinds = (ImportError, NotImplementedError, segrid.CorruptFileError)
        kinds = [kind.__name__ for kind in kinds if isinstance(error, kind)]
        print(*kinds, error)
"""


def test_without_imagecodecs(tmp_path):
    deep = PHOTO[..., 0].astype(np.uint16)
    files = {
        "lzw.tif": {"compression": "lzw"},
        "zstd.tif": {"compression": "zstd"},
        "zlib.tif": {"compression": "zlib", "predictor": True},
        "packed.tif": {"bitspersample": 12},
        "plain.tif": {},
    }
    for name, options in files.items():
        tifffile.imwrite(tmp_path / name, deep, **options)
    (tmp_path / "fax.tif").write_bytes(pillow(Image.fromarray(deep > 99), compression="group4"))
    (tmp_path / "bomb.tif").write_bytes(bomb())
    names = [*files, "fax.tif", "bomb.tif"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = dict(zip(names, done.stdout.splitlines(), strict=True))
    assert done.stderr == ""
    for name, compression in (
        ("lzw.tif", "LZW"),
        ("zstd.tif", "ZSTD"),
        ("fax.tif", "CCITT"),
        ("packed.tif", "NONE"),
    ):
        assert (
            said[name].startswith("ImportError NotImplementedError /")
            and name in said[name]
            and compression in said[name]
        ), said[name]
        assert 'pip install "segrid[microscopy]"' in said[name] and "orrupt" not in said[name]
    assert said["zlib.tif"] == said["plain.tif"] == f"image {(*SIZE, 3)}"
    assert said["bomb.tif"].startswith("CorruptFileError") and "inflates" in said["bomb.tif"]


def bomb():
    """A file with a strip of 64 bytes that inflates to 64 MB."""
    import zlib

    data = bytearray(tiff(np.zeros((8, 8), np.uint8), compression="zlib"))
    offset, squeezed = len(data), zlib.compress(bytes(64 << 20), 9)
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as opened:
        tags = opened.pages[0].tags
        for code, value in ((273, offset), (279, len(squeezed))):
            at = tags[code].valueoffset
            size = {3: 2, 4: 4}[tags[code].dtype]
            data[at : at + size] = value.to_bytes(size, "little")
    return bytes(data) + squeezed
