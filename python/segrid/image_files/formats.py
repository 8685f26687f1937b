"""Recognises the format of a file by its first bytes, and what is no file by its mode."""

from __future__ import annotations

import stat

HEAD = 4096  # bytes at the beginning of a file that decide its format
JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
NETPBM = tuple(
    kind + space
    for kind in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")
    for space in (b"\n", b" ", b"\t", b"\r")
)
READ = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "PPM": NETPBM,
    "JPEG 2000": JPEG_2000,
}

# Files in folders are found by these endings. Their first bytes decide the format.
ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".j2k",
)

# (offset, bytes there, name): picture formats that are recognised and not read.
UNREAD = (
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC or AVIF image"),
    (4, b"ftypmsf1", "a HEIC or AVIF image"),
    (4, b"JXL \r\n", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop file (PSD)"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"v/1\1", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"gimp xcf", "a GIMP file (XCF)"),
    (0, b"PF\n", "a colour PFM image"),
    (0, b"P7\n", "a PAM image"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"SIMPLE  =", "a FITS image"),
    (4, b"ftypcrx", "a camera's raw file (CR3)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIRS", "a camera's raw file (ORF)"),
    (0, b"MMOR", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (8, b"CR\2", "a camera's raw file (CR2)"),
    (6, b"HEAPCCDR", "a camera's raw file (CRW)"),
    (0, b"\0MRM", "a camera's raw file (MRW)"),
    (0, b"FOVb", "a camera's raw file (X3F)"),
)

# (offset, bytes there, name): formats that are no raster images.
NO_IMAGE = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (4, b"ftyp", "a video (MP4 or MOV)"),
    (8, b"AVI LIST", "a video (AVI)"),
    (0, b"\x1aE\xdf\xa3", "a video (MKV or WebM)"),
)


def read_as(head: bytes) -> str | None:
    """ "PNG", "JPEG", "TIFF", "BMP", "WebP", "GIF", "PPM", "JPEG 2000" or None."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for kind, marks in READ.items() if head.startswith(marks)), None)


def unread(head: bytes) -> str | None:
    """The name of a picture format that is not read, or None."""
    return _named(head, UNREAD)


def no_image(head: bytes) -> str | None:
    """The name of a format that is no raster image, or None.

    The engine itself recognises HTML and other text.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<") and b"<svg" in head.lower():
        return "an SVG drawing"
    return _named(head, NO_IMAGE)


def no_file(mode: int) -> str | None:
    """The name of what is neither a file nor a folder, by its mode, or None. Reading it might not
    end."""
    kinds = (
        (stat.S_ISFIFO, "a pipe (FIFO)"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for fits, name in kinds if fits(mode)), None)


def _named(head: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((name for at, mark, name in table if head.startswith(mark, at)), None)
