"""TIFFs of every kind against the rules of `read_image`."""

import io

import numpy as np
import pytest
import segrid
import tifffile
from PIL import Image, ImageOps

from tests.reference.tiff import PHOTO, RNG, SIZE, gray, percentiles, pillow, read, tiff

DEEP = {
    "int8": PHOTO.astype(int) // 2 - 60,
    "uint16": PHOTO.astype(int) * 16 + 90,
    "int16": PHOTO.astype(int) * 250 - 32000,
    "uint32": PHOTO.astype(int) * 70_000,
    "int32": PHOTO.astype(int) * 70_000 - 2**23,
    "float16": PHOTO / 255,
    "float32": PHOTO / 1e5 - 3,
    "float64": PHOTO * 1e300,
    "uint64": PHOTO.astype(int) * 2**40,
    "int64": -PHOTO.astype(int) * 2**40,
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_eight_bits(kind):
    deep = DEEP[kind].astype(kind)
    assert np.array_equal(read(tiff(deep[..., 0])), gray(percentiles(deep[..., 0])))
    for planar in ("contig", "separate"):
        stored = deep if planar == "contig" else np.ascontiguousarray(np.moveaxis(deep, -1, 0))
        colours = read(tiff(stored, photometric="rgb", planarconfig=planar))
        assert np.array_equal(colours, percentiles(deep)), (
            "the colours of one picture share one range"
        )
        channels = read(tiff(stored, photometric="minisblack", planarconfig=planar))
        assert np.array_equal(
            channels, np.stack([percentiles(deep[..., c]) for c in range(3)], axis=-1)
        ), "each channel has its own range"


def test_eight_bits_stay():
    assert np.array_equal(read(tiff(PHOTO[..., 0])), gray(PHOTO[..., 0]))
    for photometric in ("rgb", "minisblack"):
        assert np.array_equal(
            read(tiff(PHOTO, photometric=photometric, planarconfig="contig")), PHOTO
        )
        assert np.array_equal(
            read(tiff(np.moveaxis(PHOTO, -1, 0), photometric=photometric, planarconfig="separate")),
            PHOTO,
        )
    dark = PHOTO // 16
    assert np.array_equal(read(tiff(dark, photometric="rgb")), dark)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 7])
def test_fewer_bits_fill_the_range(bits):
    values = (PHOTO[..., 0] >> (8 - bits)).astype(np.uint8)
    data = (
        tiff(values > 0, photometric="minisblack")
        if bits == 1
        else tiff(values, bitspersample=bits)
    )
    assert np.array_equal(
        read(data), gray(np.rint(values * (255 / (2**bits - 1))).astype(np.uint8))
    )


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 24])
def test_odd_bits_are_stretched(bits):
    values = (PHOTO[..., 0].astype(np.uint32) << (bits - 8)).astype(
        np.uint16 if bits < 16 else np.uint32
    )
    assert np.array_equal(read(tiff(values, bitspersample=bits)), gray(percentiles(values)))


def test_twelve_bits_in_sixteen_are_not_black():
    camera = PHOTO[..., 0].astype(np.uint16) * 16
    assert read(tiff(camera)).mean() > 60
    assert np.array_equal(
        read(tiff(camera)), read(tiff(camera.byteswap().view(">u2"), byteorder=">"))
    )


def test_hardly_any_contrast():
    assert read(tiff(np.full(SIZE, 7, np.uint16))).max() == 0
    lone = np.zeros((200, 200), np.float32)
    lone[3, 4] = 1e-6
    assert (
        np.unravel_index(read(tiff(lone))[..., 0].argmax(), lone.shape) == (3, 4)
        and read(tiff(lone)).max() == 255
    )


COMPRESSED = [
    {"compression": name, **more}
    for name in ("lzw", "zstd", "zlib", "packbits", "lzma", "png", "jpeg2000", "webp", "jpegxl")
    for more in ({}, {"predictor": True}, {"tile": (16, 32)}, {"rowsperstrip": 7})
    if not (name in ("png", "jpeg2000", "webp", "jpegxl", "packbits") and "predictor" in more)
]


@pytest.mark.parametrize("options", COMPRESSED, ids=str)
def test_compressions(options):
    exact = (
        {"compressionargs": {"lossless": True}}
        if options["compression"] in ("webp", "jpegxl")
        else {}
    )
    assert np.array_equal(read(tiff(PHOTO, photometric="rgb", **options, **exact)), PHOTO)
    if options["compression"] != "webp":
        deep = PHOTO[..., 0].astype(np.uint16) * 200
        assert np.array_equal(read(tiff(deep, **options, **exact)), gray(percentiles(deep)))
    if options["compression"] in ("lzw", "zstd", "zlib"):
        more = options | ({"predictor": 3} if "predictor" in options else {})
        floats = PHOTO[..., 0].astype(np.float32) / 7
        assert np.array_equal(read(tiff(floats, **more)), gray(percentiles(floats)))


@pytest.mark.parametrize("options", [{}, {"tile": (16, 32)}, {"rowsperstrip": 8}], ids=str)
def test_jpeg(options):
    data = tiff(
        PHOTO, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **options
    )
    assert np.abs(read(data).astype(int) - PHOTO).mean() < 6
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(read(data).astype(int) - theirs).max() <= 3, "YCbCr must become RGB only once"
    assert (
        np.abs(
            read(tiff(PHOTO[..., 0], compression="jpeg")).astype(int) - gray(PHOTO[..., 0])
        ).mean()
        < 6
    )


@pytest.mark.parametrize(
    "compression", ["group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw", None]
)
@pytest.mark.parametrize("width", [50, 48, 7])
def test_one_bit_and_fax(compression, width):
    black = Image.fromarray(PHOTO[:, :width, 0] > 120)
    assert np.array_equal(
        read(pillow(black, compression=compression)),
        gray(PHOTO[:, :width, 0] > 120).astype(np.uint8) * 255,
    )


def test_big_tiff_and_byte_orders():
    deep = PHOTO[..., 0].astype(np.uint16) * 200
    for options in ({"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}):
        assert np.array_equal(read(tiff(PHOTO, photometric="rgb", **options)), PHOTO)
        assert np.array_equal(read(tiff(deep, **options)), gray(percentiles(deep)))


def test_white_is_zero():
    deep = PHOTO[..., 0].astype(np.uint16) * 200
    assert np.array_equal(
        read(tiff(PHOTO[..., 0], photometric="miniswhite")), 255 - gray(PHOTO[..., 0])
    )
    assert np.array_equal(read(tiff(deep, photometric="miniswhite")), 255 - gray(percentiles(deep)))
    assert np.array_equal(
        read(tiff(deep.astype(np.float32), photometric="miniswhite")), 255 - gray(percentiles(deep))
    )
    assert np.array_equal(
        read(tiff(PHOTO[..., 0] > 99, photometric="miniswhite")),
        255 - gray((PHOTO[..., 0] > 99) * np.uint8(255)),
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    tag = [(274, "H", 1, orientation, True)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = io.BytesIO()
    Image.fromarray(PHOTO).save(jpeg, "PNG", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(jpeg)))
    deep = PHOTO.astype(np.uint16) * 200
    for options in ({}, {"tile": (16, 16)}, {"bigtiff": True, "compression": "lzw"}):
        assert np.array_equal(
            read(tiff(PHOTO, photometric="rgb", extratags=tag, **options)), wanted
        )
        assert np.array_equal(
            read(tiff(deep, photometric="rgb", extratags=tag, **options)),
            percentiles(wanted.astype(np.uint16) * 200),
        )


def test_alpha_is_dropped_and_never_multiplied():
    alpha = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8)
    for kind in ("unassalpha", "assocalpha"):
        assert np.array_equal(
            read(tiff(np.dstack([PHOTO, alpha]), photometric="rgb", extrasamples=[kind])), PHOTO
        )
    assert np.array_equal(
        read(
            tiff(
                np.dstack([PHOTO[..., 0], alpha]),
                photometric="minisblack",
                planarconfig="contig",
                extrasamples=["unassalpha"],
            )
        ),
        gray(PHOTO[..., 0]),
    )
    deep = np.dstack([PHOTO.astype(np.uint16) * 200, alpha.astype(np.uint16) * 257])
    assert np.array_equal(
        read(tiff(deep, photometric="rgb", extrasamples=["unassalpha"])), percentiles(deep[..., :3])
    )


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [2, 3, 4, 5, 12])
def test_bands(bands, kind, planar):
    values = np.stack(
        [np.roll(PHOTO[..., c % 3], 3 * c, axis=0) for c in range(bands)], axis=-1
    ).astype(kind)
    stored = values if planar == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    data = tiff(stored, photometric="minisblack", planarconfig=planar)
    parts = [
        values[..., c] if kind == "uint8" else percentiles(values[..., c])
        for c in range(min(3, bands))
    ]
    wanted = np.stack(parts + [np.zeros_like(parts[0])] * (3 - len(parts)), axis=-1)
    if bands <= 3:
        assert np.array_equal(read(data), wanted)
        return
    with pytest.warns(UserWarning, match=f"{bands} bands; the first three are used") as said:
        assert np.array_equal(segrid.read_image(data), wanted)
    assert len(said) == 1
    with pytest.warns(UserWarning, match=f"{bands} bands"):
        colours = segrid.read_image(
            tiff(
                stored,
                photometric="rgb",
                planarconfig=planar,
                extrasamples=["unspecified"] * (bands - 3),
            )
        )
    assert np.array_equal(
        colours, values[..., :3] if kind == "uint8" else percentiles(values[..., :3])
    )


def test_palettes():
    for colours, mode in ((256, "P"), (16, "P")):
        image = Image.fromarray(PHOTO).quantize(colours)
        assert np.array_equal(read(pillow(image)), np.asarray(image.convert("RGB"))), mode
    table = RNG.integers(0, 256, (3, 65536), dtype=np.uint16)
    indices = RNG.integers(0, 65536, SIZE, dtype=np.uint16)
    assert np.array_equal(
        read(tiff(indices, photometric="palette", colormap=table * 257)), table.T[indices]
    )
    assert np.array_equal(
        read(tiff(indices, photometric="palette", colormap=table)), table.T[indices]
    ), "a palette may have entries of 8 bits"


def test_inks():
    inks = Image.fromarray(PHOTO).convert("CMYK")
    black = Image.fromarray(PHOTO[..., 1] // 2)
    inks = Image.merge("CMYK", [*inks.split()[:3], black])
    assert np.abs(read(pillow(inks)).astype(int) - np.asarray(inks.convert("RGB"))).max() <= 1
    deep = np.asarray(inks).astype(np.uint16) * 257
    assert np.array_equal(read(tiff(deep, photometric="separated")), read(pillow(inks)))
    with pytest.raises(NotImplementedError, match="inks"):
        segrid.read_image(
            tiff(np.asarray(inks), photometric="separated", extratags=[(332, "H", 1, 2, True)])
        )


def test_luminance_and_colour_differences():
    stored = np.asarray(Image.fromarray(PHOTO).convert("YCbCr"))
    got = read(tiff(stored, photometric="ycbcr", subsampling=(1, 1)))
    assert (
        np.abs(got.astype(int) - np.asarray(Image.fromarray(stored, "YCbCr").convert("RGB"))).max()
        <= 1
    )


@pytest.mark.parametrize("photometric", ["cielab", "cfa", "logluv"])
def test_colours_that_are_not_read_are_named(photometric):
    array = PHOTO if photometric != "cfa" else PHOTO[..., 0]
    with pytest.raises(
        NotImplementedError, match="raw" if photometric == "cfa" else f"(?i){photometric}"
    ):
        segrid.read_image(tiff(array, photometric=photometric))
    with pytest.raises(NotImplementedError, match="raw"):
        segrid.read_image(
            tiff(PHOTO, photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
        )
    with pytest.raises(NotImplementedError, match="complex|samples"):
        segrid.read_image(tiff(PHOTO[..., 0].astype(np.complex64)))


@pytest.mark.parametrize(
    "kind, missing",
    [
        ("float32", -9999),
        ("float32", "nan"),
        ("float64", -3.4e38),
        ("int16", -32768),
        ("uint16", 0),
        ("int32", -1),
        ("int64", 2**63 - 1),
        ("uint64", 2**64 - 1),
    ],
)
def test_pixels_without_data_do_not_count(kind, missing):
    values = (PHOTO * 3.0 + 5).astype(kind)
    hole = np.zeros(SIZE, bool)
    hole[:, :4] = True  # 8 %
    values[hole] = np.nan if missing == "nan" else missing
    tag = [(42113, "s", 0, str(missing), True)]
    with np.errstate(invalid="ignore"):
        one = percentiles(np.where(hole, 0, values[..., 0]), ~hole)
        three = percentiles(
            np.where(hole[..., None], 0, values), np.repeat(~hole[..., None], 3, axis=2)
        )
    assert (
        np.array_equal(read(tiff(values[..., 0], extratags=tag)), gray(one))
        and one[~hole].mean() > 60
    )
    assert np.array_equal(read(tiff(values, photometric="rgb", extratags=tag)), three)
    white = read(tiff(values[..., 0], photometric="miniswhite", extratags=tag))
    assert np.array_equal(white, gray(np.where(hole, 0, 255 - one).astype(np.uint8)))


def test_nodata_of_eight_bits_and_of_no_use():
    assert np.array_equal(
        read(tiff(PHOTO, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])), PHOTO
    )
    deep = PHOTO[..., 0].astype(np.uint16)
    for text in ("-9999", "none", "1e400", "3.5", ""):
        assert np.array_equal(
            read(tiff(deep, extratags=[(42113, "s", 0, text, True)])), gray(percentiles(deep))
        )
    assert (
        read(
            tiff(np.full(SIZE, -9999, np.float32), extratags=[(42113, "s", 0, "-9999", True)])
        ).max()
        == 0
    )


def test_other_nan_and_inf_are_errors(tmp_path):
    values = PHOTO[..., 0].astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, values)
    with pytest.raises(ValueError, match="field.tif: 3 of 3000 values are NaN or Inf"):
        segrid.read_image(path)
    with pytest.raises(ValueError, match="2 of 2999 values are NaN or Inf"):
        segrid.read_image(tiff(values, extratags=[(42113, "s", 0, "nan", True)]))
