"""COCO files: ids mean the same in every file, and pycocotools reads them."""

import hashlib
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import segrid
from PIL import Image
from pycocotools.coco import COCO
from segrid.folders.coco import image_id, merge


def batch(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "batch", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two folders with files of the same names and different content, and one file that is in
    both."""
    root = tmp_path_factory.mktemp("days")
    rng = np.random.default_rng(5)
    for day in ("day1", "day2"):
        for name in ("0001.png", "0002.jpg", "0002.png", "sub/0001.png"):
            (root / day / name).parent.mkdir(parents=True, exist_ok=True)
            small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(small).resize((90, 70), Image.BICUBIC).save(root / day / name)
    (root / "day2/same.png").write_bytes((root / "day1/0001.png").read_bytes())
    (root / "day1/same.png").write_bytes((root / "day1/0001.png").read_bytes())
    return root


WORDS = (
    "--prompt",
    "a red circle",
    "--prompt",
    "nothing that is there",
    "--prompt",
    "a star",
    "--conf-threshold",
    "0.02",
    "--write",
    "coco",
)


@pytest.fixture(scope="module")
def runs(days, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for day in ("day1", "day2"):
        batch(days / day, "-o", out / day, *WORDS)
    return out


def files_of(out):
    return [out / "coco.json", *sorted((out / "coco").rglob("*.json"))]


def test_all_categories_in_the_prompts_order_in_every_file(runs):
    names = ["a red circle", "nothing that is there", "a star"]
    for file in files_of(runs / "day1") + files_of(runs / "day2"):
        categories = json.loads(file.read_text())["categories"]
        assert categories == [{"id": i, "name": name} for i, name in enumerate(names, 1)]


def test_file_names_can_be_opened_and_numbers_are_equal_everywhere(days, runs):
    for day in ("day1", "day2"):
        merged, seen = COCO(runs / day / "coco.json"), []
        for file in files_of(runs / day)[1:]:
            alone = COCO(file)
            ((number, image),) = alone.imgs.items()
            with Image.open(days / day / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"])
            assert (
                merged.imgs[number] == image
                and number == image_id(image["file_name"], days / day / image["file_name"]) < 2**53
            )
            assert merged.imgToAnns[number] == alone.imgToAnns[number]
            seen.append(image["file_name"])
        assert sorted(seen) == ["0001.png", "0002.jpg", "0002.png", "same.png", "sub/0001.png"]
        assert len(merged.imgs) == 5


def test_an_image_id_does_not_load_the_file(tmp_path):
    """The id is the SHA-1 of the content. For a file of 300 MB it takes a few MB of memory."""
    big = tmp_path / "big.tif"
    with open(big, "wb") as file:
        file.write(b"II*\0")
        file.truncate(300 << 20)
    tracemalloc.start()
    try:
        number = image_id("big.tif", big)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    digest = hashlib.sha1(b"big.tif\0" + hashlib.sha1(big.read_bytes()).digest()).digest()
    assert number == int.from_bytes(digest[:8], "big") % 2**52 + 1


def test_labels_and_masks_are_those_of_the_pipeline(days, runs):
    pipeline, merged = segrid.Pipeline("tiny-detector", "tiny"), COCO(runs / "day1/coco.json")
    prompts = list(WORDS[1:6:2])
    for number, image in merged.imgs.items():
        found = pipeline(days / "day1" / image["file_name"], prompts, threshold=0.02)
        annotations = merged.imgToAnns[number]
        assert len(annotations) == len(found)
        for i, annotation in enumerate(annotations):
            assert merged.cats[annotation["category_id"]]["name"] == found.labels[i]
            assert np.array_equal(merged.annToMask(annotation), found.masks.array[i])
    assert len(merged.anns) > 0


def test_outputs_of_two_runs_join_as_they_are(runs, tmp_path):
    """Concatenating the lists joins the files: no ids clash."""
    parts = [json.loads((runs / day / "coco.json").read_text()) for day in ("day1", "day2")]
    joined = {key: parts[0][key] + parts[1][key] for key in ("images", "annotations")}
    (tmp_path / "all.json").write_text(json.dumps(joined | {"categories": parts[0]["categories"]}))
    found = COCO(tmp_path / "all.json")
    images = {image["id"]: image for image in joined["images"]}
    assert len(joined["images"]) == 10 and len(found.imgs) == 9  # same.png is one image in both.
    assert images.keys() == found.imgs.keys()
    assert len(found.anns) == len({json.dumps(a) for a in joined["annotations"]}) > 0
    merge([runs / day / "coco.json" for day in ("day1", "day2")], tmp_path / "merged.json")
    ours = COCO(tmp_path / "merged.json")
    assert ours.anns == found.anns and ours.imgs == found.imgs and ours.cats == found.cats


def test_runs_with_other_prompts_merge_by_name(days, runs, tmp_path):
    batch(
        days / "day1",
        "-o",
        tmp_path / "more",
        "--prompt",
        "a star",
        "--prompt",
        "a nucleus",
        "--conf-threshold",
        "0.02",
        "--write",
        "coco",
    )
    merge([runs / "day1/coco.json", tmp_path / "more/coco.json"], tmp_path / "all.json")
    found = COCO(tmp_path / "all.json")
    names = {number: c["name"] for number, c in found.cats.items()}
    assert names == {1: "a red circle", 2: "nothing that is there", 3: "a star", 4: "a nucleus"}
    assert len(found.imgs) == 5
    for file in (runs / "day1/coco.json", tmp_path / "more/coco.json"):
        own = COCO(file)
        for number, annotation in own.anns.items():
            joined = found.anns[number]
            assert names[joined["category_id"]] == own.cats[annotation["category_id"]]["name"]
            assert joined["segmentation"] == annotation["segmentation"]


def test_files_that_cannot_be_merged_are_named(tmp_path):
    image = {"id": 1, "file_name": "a.png", "height": 2, "width": 2}
    for name, content in (
        (
            "a",
            {
                "images": [image],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
                "categories": [{"id": 1, "name": "x"}],
            },
        ),
        ("b", {"images": [image | {"file_name": "b.png"}], "annotations": [], "categories": []}),
        (
            "c",
            {
                "images": [],
                "annotations": [{"id": 1, "image_id": 2, "category_id": 1}],
                "categories": [{"id": 1, "name": "x"}],
            },
        ),
        ("d", []),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    for other, what in (
        ("b", "image id 1 is that of b.png here, and of a.png"),
        ("c", "annotation id 1"),
        ("d", "not a COCO file"),
    ):
        with pytest.raises(ValueError, match=what):
            merge([tmp_path / "a", tmp_path / other], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    merge([tmp_path / "a", tmp_path / "a"], tmp_path / "out.json")
    assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 1


IMAGE = {"id": 1, "file_name": "a.png", "height": 2, "width": 2}
EMPTY = {"images": [], "annotations": [], "categories": []}
FOREIGN = [
    EMPTY | {"images": [{}]},
    EMPTY | {"images": [1]},
    EMPTY | {"images": {}},
    EMPTY | {"images": None},
    EMPTY | {"images": [IMAGE | {"id": [1]}]},
    EMPTY | {"annotations": [{}]},
    EMPTY | {"annotations": [{"id": 1, "category_id": 9}]},
    EMPTY | {"annotations": [{"id": {}, "category_id": 1}], "categories": [{"id": 1, "name": "x"}]},
    EMPTY | {"categories": [{}]},
    EMPTY | {"categories": [{"id": "1", "name": "x"}]},
    EMPTY | {"categories": [{"id": 1, "name": ["x"]}]},
]


@pytest.mark.parametrize("content", FOREIGN, ids=json.dumps)
def test_foreign_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "foreign.json").write_text(json.dumps(content))
    (tmp_path / "own.json").write_text(json.dumps(EMPTY | {"images": [IMAGE]}))
    files = [tmp_path / "foreign.json", tmp_path / "own.json"]
    with pytest.raises(ValueError, match=r"foreign.json: not a COCO file; .*(images|annot|categ)"):
        merge(files, tmp_path / "all.json")
    refused = []
    merge(files, tmp_path / "all.json", refused=lambda path, why: refused.append((path, str(why))))
    assert [path for path, _ in refused] == files[:1]
    assert json.loads((tmp_path / "all.json").read_text()) == EMPTY | {"images": [IMAGE]}


def test_a_file_that_is_refused_leaves_nothing(tmp_path):
    """None of its images and categories are left, and none of the annotations before the one that
    clashes."""
    kind = {"categories": [{"id": 1, "name": "x"}]}
    mark = {"id": 7, "image_id": 1, "category_id": 1}
    first = EMPTY | kind | {"images": [IMAGE], "annotations": [mark]}
    other = {
        "images": [IMAGE | {"id": 2}],
        "annotations": [mark | {"id": 6, "category_id": 2}, mark | {"bbox": [], "category_id": 2}],
        "categories": [{"id": 2, "name": "y"}],
    }
    for name, content in (("first", first), ("other", other)):
        (tmp_path / name).write_text(json.dumps(content))
    said = []
    files = [tmp_path / "first", tmp_path / "other"]
    merge(files, tmp_path / "all.json", refused=lambda path, why: said.append(str(why)))
    assert len(said) == 1 and "annotation id 7" in said[0]
    assert json.loads((tmp_path / "all.json").read_text()) == first


@pytest.mark.parametrize("content", ['{"shapes": []}', "no JSON", "[" * 100_000])
def test_a_foreign_file_does_not_end_a_run(days, tmp_path, content):
    """With --skip-existing a foreign file stays as it is, a note says so, and the other files are
    joined."""
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/same.json").write_text(content)
    few = ("--write", "coco", "--points-per-side", "2", "--skip-existing")
    told = batch(days / "day1", "-o", tmp_path, *few)
    assert "note same.png: not in coco.json: " in told.stdout
    assert f"{tmp_path}/coco/same.json: not" in told.stdout
    assert (tmp_path / "coco/same.json").read_text() == content
    names = [image["file_name"] for image in COCO(tmp_path / "coco.json").imgs.values()]
    assert sorted(names) == ["0001.png", "0002.jpg", "0002.png", "sub/0001.png"]


def test_several_roots_keep_their_folders(days, tmp_path):
    batch(
        days / "day1",
        days / "day2",
        "-o",
        tmp_path / "out",
        "--write",
        "coco",
        "--points-per-side",
        "2",
    )
    found = COCO(tmp_path / "out/coco.json")
    names = [image["file_name"] for image in found.imgs.values()]
    assert len(names) == 10 == len(set(names))
    assert all((days / name).is_file() for name in names)
    assert found.cats == {1: {"id": 1, "name": "object"}}


def test_views_number_their_classes_in_their_order(days, tmp_path):
    """The class numbers of each view's detector begin at 0. An image without objects lists all
    categories."""
    rules = {
        "one": {"pattern": "0001.*", "prompts": ["a star", ["tooth", "teeth"]], "threshold": 0.02},
        "two": {"pattern": "*", "prompts": ["a red circle", "a star"], "threshold": 0.02},
    }
    (tmp_path / "views.json").write_text(json.dumps(rules))
    names = {1: "a star", 2: "tooth", 3: "a red circle"}
    for part, more in (("all", ()), ("one", ("--view", "one")), ("two", ("--view", "two"))):
        batch(
            days / "day1",
            "-o",
            tmp_path / part,
            "--views",
            tmp_path / "views.json",
            "--write",
            "coco",
            *more,
        )
        for file in files_of(tmp_path / part):
            assert {n: c["name"] for n, c in COCO(file).cats.items()} == names
    merge([tmp_path / "one/coco.json", tmp_path / "two/coco.json"], tmp_path / "merged.json")
    both, whole = COCO(tmp_path / "merged.json"), COCO(tmp_path / "all/coco.json")
    assert both.anns == whole.anns and both.imgs == whole.imgs and len(whole.anns) > 0
    detector = segrid.Detector("tiny-detector")
    for number, image in whole.imgs.items():
        view = rules["one" if image["file_name"].endswith("0001.png") else "two"]
        found = detector.detect(days / "day1" / image["file_name"], view["prompts"], threshold=0.02)
        assert [names[a["category_id"]] for a in whole.imgToAnns[number]] == found.labels
