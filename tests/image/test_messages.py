"""What is said of files that cannot be read, and what a lenient read gives of them."""

import io
import os

import numpy as np
import pytest
import segrid
from PIL import Image

PHOTO = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).resize(
        (320, 240), Image.BICUBIC
    )
)


def saved(kind):
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "mark"), [("PNG", b"IDAT"), ("JPEG", b"\xff\xda")])
def test_lenient_gives_no_black_picture_where_nothing_can_be_decoded(kind, mark):
    whole = saved(kind)
    cut = whole[: whole.index(mark) - 4]
    for lenient in (False, True):
        with pytest.raises(segrid.CorruptFileError):
            segrid.read_image(cut, lenient=lenient)


def test_messages_and_warnings_with_names_that_are_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    whole = saved("JPEG")
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(segrid.CorruptFileError) as error:
        segrid.read_image(path)
    assert str(error.value).startswith(f"{path}: ") and "JPEG" in str(error.value)
    with pytest.warns(UserWarning) as said:
        assert segrid.read_image(path, lenient=True).shape == PHOTO.shape
    assert str(said[0].message).startswith(f"{path}: ")
