"""Inputs: which files are images, and the names of their results."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import pytest
from PIL import Image
from segrid.cli.output import items
from segrid.folders.inputs import _named, collect, read_list
from segrid.folders.walk import images_below


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (9, 90, 200)).save(path)
    return path


def keys(*inputs, **more):
    return [one.key for one in collect([str(one) for one in inputs], **more)]


def batch(*arguments):
    command = [
        sys.executable,
        "-m",
        "segrid",
        "batch",
        *map(str, arguments),
        "--points-per-side",
        "2",
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_names_are_paths_below_what_all_inputs_share(tmp_path):
    for name in ("day1/p.png", "day2/p.png", "day1/p.jpg", "day1/x/q.png"):
        picture(tmp_path / name)
    assert keys(tmp_path / "day1") == ["p.jpg", "p.png", "x/q.png"]
    both = collect([str(tmp_path / "day1"), str(tmp_path / "day2")])
    assert [(i.key, i.stem) for i in both] == [
        ("day1/p.jpg", "day1/p.jpg"),
        ("day1/p.png", "day1/p.png"),
        ("day1/x/q.png", "day1/x/q"),
        ("day2/p.png", "day2/p"),
    ]
    assert all((tmp_path / one.key).samefile(one.path) for one in both)
    assert keys(f"{tmp_path}/day?/*.png") == ["day1/p.png", "day2/p.png"]
    assert keys(f"{tmp_path}/day1/**/*.png") == ["p.png", "x/q.png"]
    assert keys(tmp_path / "day1/p.png") == ["p.png"]
    assert keys(tmp_path / "day1/p.png", tmp_path / "day2/../day2/p.png") == [
        "day1/p.png",
        "day2/p.png",
    ]
    assert keys(tmp_path / "day1", tmp_path / "day1/p.png") == ["p.jpg", "p.png", "x/q.png"]
    with pytest.raises(FileNotFoundError, match="no images"):
        keys(f"{tmp_path}/nothing*.png")
    with pytest.raises(FileNotFoundError, match="no images"):
        keys(picture(tmp_path / "empty/.hidden.png").parent)


@pytest.mark.parametrize(
    "before,end", [(b"", b"\n"), (b"\xef\xbb\xbf", b"\r\n"), (b"", b"\r"), (b"\xef\xbb\xbf", b"\n")]
)
def test_lists_of_every_editor(tmp_path, before, end):
    picture(tmp_path / "a.png"), picture(tmp_path / "é 猫.png")
    lines = ["a.png", "", "# no image", "  é 猫.png  "]
    (tmp_path / "l.txt").write_bytes(before + end.join(line.encode() for line in lines) + end)
    assert keys(tmp_path / "l.txt") == ["a.png", "é 猫.png"]


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lists_in_utf_16_are_named(tmp_path, code):
    (tmp_path / "l.txt").write_text("a.png\n", encoding=code)
    with pytest.raises(ValueError, match="l.txt: a list must be UTF-8"):
        read_list(tmp_path / "l.txt")


def test_names_of_many_images_take_seconds():
    """20,000 images: finding a name does not look at all earlier names."""
    count = 20_000
    began = process_time()
    keyed = {f"d/{i // 2}.{'jp' if i % 2 else 'pn'}g": Path(f"/d/{i}") for i in range(count)}
    stems = [one.stem for one in _named(keyed)]
    assert len(set(stems)) == count and stems[:2] == ["d/0.jpg", "d/0.png"]
    assert {one.stem for one in _named({f"{i}.png": Path("/") for i in range(count)})} == {
        str(i) for i in range(count)
    }
    targets = [one.target.name for one in items([Path(f"{i}/a.png") for i in range(count)], Path())]
    assert targets == ["a", *(f"a-{n}" for n in range(2, count + 1))]
    assert process_time() - began < 10


def test_what_systems_leave_behind(tmp_path):
    picture(tmp_path / "a.png")
    for name in (
        ".hidden.png",
        "._a.png",
        "__MACOSX/a.png",
        "__MACOSX/._a.png",
        ".git/a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
    ):
        picture(tmp_path / name)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert keys(tmp_path) == keys(f"{tmp_path}/**/*.png") == ["a.png"]
    assert keys(tmp_path / ".hidden.png") == [".hidden.png"]  # The file was asked for by name.
    assert keys(tmp_path / ".git") == ["a.png"]


@pytest.mark.parametrize(
    "name",
    ["a.JFIF", "a.jpe", "a.ppm", "a.pgm", "a.pbm", "a.pnm", "a.jp2", "a.j2k", "a.TIF", "a.jpeg"],
)
def test_endings(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert keys(tmp_path) == [name]


def test_outputs_are_no_inputs(tmp_path):
    """Outputs of this run and of an earlier run to another folder are not inputs."""
    picture(tmp_path / "in/p.png"), picture(tmp_path / "in/sub/q.png")
    out = tmp_path / "in/out1"
    assert batch(tmp_path / "in", "-o", out).returncode == 0
    assert json.loads(batch(tmp_path / "in", "-o", out, "--json").stdout)["skipped"] == 2
    assert (out / "overlay/p.png").exists()
    again = batch(tmp_path / "in", "-o", tmp_path / "in/sub/out2", "--json")
    assert json.loads(again.stdout)["images"] == 2, again.stderr
    assert keys(f"{tmp_path}/in/**/*.png") == ["p.png", "sub/q.png"]
    assert keys(out / "overlay") == ["p.png", "sub/q.png"]  # The file was asked for by name.
    (tmp_path / "up/in").mkdir(parents=True)  # The results are in the parent folder of the images.
    picture(tmp_path / "up/in/p.png")
    assert batch(tmp_path / "up/in", "-o", tmp_path / "up", "--json").returncode == 0
    assert keys(tmp_path / "up/in", output=tmp_path / "up") == ["p.png"]


FOREIGN = [
    {"write": [["x"]]},
    {"write": 3},
    {"write": {"labels": 1}, "output_suffix": 3},
    {"write": None, "output_suffix": ["_mask"]},
]


@pytest.mark.parametrize("options", FOREIGN, ids=json.dumps)
def test_manifests_of_others(tmp_path, options):
    """A manifest that cannot be segrid's does not end the run."""
    picture(tmp_path / "a/b/x.png"), picture(tmp_path / "a/y.png")
    (tmp_path / "a/manifest.jsonl").write_text(json.dumps({"options": options}) + "\n")
    assert keys(tmp_path / "a") == ["b/x.png", "y.png"]


def test_a_manifest_that_cannot_be_one_is_not_read(tmp_path):
    """The manifests are a pipe, a line without an end, and brackets without an end. The images
    beside them are inputs."""
    for name in ("pipe", "long", "deep"):
        picture(tmp_path / f"in/{name}/x.png")
    os.mkfifo(tmp_path / "in/pipe/manifest.jsonl")
    with open(tmp_path / "in/long/manifest.jsonl", "wb") as file:
        file.truncate(400 << 20)
    (tmp_path / "in/deep/manifest.jsonl").write_text("[" * 100_000)
    code = (
        "import sys\nfrom segrid.folders.inputs import collect\n"
        "from segrid.measuring.memory import resident_mb\n"
        "before = resident_mb('VmHWM')\n"
        "print(*(one.key for one in collect(sys.argv[1:])))\n"
        "print(round(resident_mb('VmHWM') - before))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "in")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found, megabytes = told.stdout.splitlines()
    assert found == "deep/x.png long/x.png pipe/x.png" and int(megabytes) < 100


def test_results_in_the_input_folder(tmp_path):
    picture(tmp_path / "p.png"), picture(tmp_path / "sub/q.png")
    for _ in range(2):
        told = json.loads(batch(tmp_path, "-o", tmp_path, "--json").stdout)
        assert told["images"] == 2
    assert keys(tmp_path) == keys(f"{tmp_path}/**/*.png") == ["p.png", "sub/q.png"]
    (tmp_path / "manifest.jsonl").unlink()
    picture(tmp_path / "labels/mine.png")  # This run would write to that folder.
    assert "labels/mine.png" not in keys(tmp_path, output=tmp_path, kinds={"labels", "overlay"})


def test_links(tmp_path):
    root, away = tmp_path / "in", tmp_path / "away"
    picture(root / "z/p.png"), picture(away / "q.png")
    (root / "a").symlink_to(root / "z")  # The folder is read by its own name already.
    (root / "z/loop").symlink_to(root)
    (root / "b").symlink_to(away)
    (away / "back").symlink_to(root / "z")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "day3").symlink_to(tmp_path / "unplugged")
    (root / "notes.md").symlink_to(tmp_path / "nowhere.md")
    with pytest.warns(UserWarning) as found:
        assert keys(root) == ["b/q.png", "gone.png", "self.png", "z/p.png"]
    said = sorted(str(w.message) for w in found)
    assert len(said) == 5
    for name, what in (
        ("a", "read already"),
        ("b/back", "read already"),
        ("z/loop", "read already"),
        ("day3", "a broken link"),
        ("notes.md", "a broken link"),
    ):
        assert any(text.startswith(f"{root / name}: ") and what in text for text in said), said
    assert keys(f"{root}/*.png") == ["gone.png", "self.png"]
    told = batch(root, "-o", tmp_path / "out", "--json")
    bad = json.loads(told.stdout)["quarantined"]
    assert (
        told.returncode == 1
        and set(bad) == {"gone.png", "self.png"}
        and "broken link" in bad["gone.png"]
    )
    assert str(tmp_path / "nowhere.png") in bad["gone.png"]
    assert "day3: a broken link" in told.stderr and "Traceback" not in told.stderr
    assert ".py:" not in told.stderr  # Users see plain lines, not Python's warnings.


def test_folders_that_may_not_be_read(tmp_path, monkeypatch):
    picture(tmp_path / "in/a.png"), picture(tmp_path / "in/locked/b.png")
    real = os.listdir

    def listdir(path="."):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert keys(tmp_path / "in") == ["a.png", "locked"]
    from segrid import Segmenter
    from segrid.folders.run import Job, run

    summary = run(
        Job(Segmenter("tiny"), tmp_path / "out", ["labels"], {"points_per_side": 2}),
        collect([str(tmp_path / "in")]),
        {},
    )
    assert [name for name, _ in summary.failed] == [
        "locked"
    ] and "Permission denied" in summary.failed[0][1]


LOCKED = """
import json, os, sys
from pathlib import Path
from segrid import Segmenter
from segrid.folders.inputs import collect
from segrid.folders.run import Job, run
model, root = Segmenter("tiny"), sys.argv[1]
def done(name):
    images = collect([f"{root}/{name}"])
    job = Job(model, Path(root) / f"out/{name}", ["labels"], {"points_per_side": 2})
    return images, run(job, images, {})
done("in/ok")  # all modules are loaded: nobody may not load them
if os.geteuid() == 0:
    os.chmod(root + "/out/in", 0o777), os.setgroups([]), os.setegid(65534), os.seteuid(65534)
images, summary = done("in")
globbed = [one.key for one in collect([root + "/in/*/*"])]
print(json.dumps({"keys": [one.key for one in images], "failed": summary.failed, "glob": globbed}))
"""


@pytest.fixture
def root():
    """A temporary folder that every user may enter; pytest's are the user's own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_folders_that_may_be_listed_but_not_searched(root):
    """Such folders, and links into them, become records; the other images are done."""
    picture(root / "in/ok/a.png"), picture(root / "in/listed/b.png")
    (root / "in/listed/sub").mkdir()
    (root / "in/c.png").symlink_to(root / "in/listed/b.png")
    (root / "in/d").symlink_to(root / "in/listed/sub")
    (root / "out").mkdir()
    (root / "out").chmod(0o777)
    (root / "in/listed").chmod(0o444)
    try:
        told = subprocess.run(
            [sys.executable, "-c", LOCKED, str(root)], capture_output=True, text=True
        )
    finally:
        (root / "in/listed").chmod(0o755)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["keys"] == ["c.png", "d", "listed", "ok/a.png"]
    assert [name for name, _ in found["failed"]] == ["c.png", "d", "listed"]
    assert all("Permission denied" in why and name in why for name, why in found["failed"])
    assert found["glob"] == ["listed/b.png", "listed/sub", "ok/a.png"]


def test_row_58_names_that_are_no_utf_8_and_long_ones(tmp_path):
    odd, long = os.fsdecode(b"caf\xe9.png"), "n" * 240 + ".png"
    for name in (odd, long, "a,5;é.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / os.fsdecode(b"b\xe9d.png")).write_text("no image")
    (tmp_path / "l.txt").write_bytes(b"in/caf\xe9.png\nin/gone\xe9.png\n")
    assert keys(tmp_path / "l.txt") == [odd, os.fsdecode(b"gone\xe9.png")]
    done = batch(tmp_path / "in", "-o", tmp_path / "out", "--write", "coco,labels,classes")
    assert done.returncode == 1 and "b'" not in done.stdout + done.stderr, done.stderr
    assert "3 of 4 images done, 1 quarantined" in done.stdout
    merged = json.loads((tmp_path / "out/coco.json").read_text())
    assert {i["file_name"] for i in merged["images"]} == {odd, long, "a,5;é.png"}
    assert all((tmp_path / "in" / i["file_name"]).exists() for i in merged["images"])


def test_row_1_names_not_bytes_in_messages(tmp_path):
    (tmp_path / "l.txt").write_text("gone.png\n")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "m.txt").write_text("folder.png\n")
    for listed in ("l.txt", "m.txt"):
        done = batch(tmp_path / listed, "-o", tmp_path / "out")
        assert done.returncode == 1 and "b'" not in done.stdout + done.stderr, done.stdout
        assert str(tmp_path) in done.stdout.replace("\n", "")


def test_order_of_a_walk_does_not_depend_on_the_disk(tmp_path):
    for name in ("c/1.png", "b.png", "a/2.png", "a/b/3.png"):
        picture(tmp_path / name)
    from segrid.folders.walk import Results

    assert [p.name for p in images_below(tmp_path, Results())] == [
        "b.png",
        "2.png",
        "1.png",
        "3.png",
    ]


def test_a_sibling_of_another_format_drops_no_image(tmp_path):
    """The results of a.png are called a, and a.png when there is an a.jpg, too."""
    picture(tmp_path / "in/a.png")
    command = (tmp_path / "in", "-o", tmp_path / "out", "--write", "coco")
    assert batch(*command).returncode == 0
    picture(tmp_path / "in/a.jpg")
    for expected in ({"a.jpg", "a.png"}, {"a.png"}):
        done = batch(*command)
        assert done.returncode == 0, done.stderr
        merged = json.loads((tmp_path / "out/coco.json").read_text())
        assert {image["file_name"] for image in merged["images"]} == expected
        (tmp_path / "in/a.jpg").unlink(missing_ok=True)


def test_a_writer_whose_package_is_missing_is_refused_at_once(tmp_path, monkeypatch):
    from segrid.folders import run

    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    run.check_output(["coco", "csv"], None)
    with pytest.raises(ImportError, match=r"pyarrow .*segrid\[parquet\]"):
        run.check_output(["coco", "parquet"], None)
