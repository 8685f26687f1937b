"""The page in headless Chromium, with a real server: images with the packaged models, videos with
a small model of random weights."""

import contextlib
import csv
import io
import json
import threading
import time
import zipfile

import numpy as np
import pytest
import uvicorn
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from segrid.serve import Settings, create_app
from selenium.webdriver.common.keys import Keys

from tests.tracking import clip
from tests.video.clips import encode

browser = pytest.importorskip("tests.serve.browser", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None or browser.DRIVER is None, reason="chromium is not installed"
)
FRAMES = 24
MOST_SESSIONS = 3


@contextlib.contextmanager
def serving(settings):
    """The address of a server that runs in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def address(video_model):
    trackers = (f"clip={video_model}",)
    settings = Settings(trackers=trackers, device="cpu", max_sessions=MOST_SESSIONS)
    with serving(settings) as found:
        yield found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloads")
    driver = browser.start(folder)
    yield driver, folder
    driver.quit()


@pytest.fixture
def page(chromium, address):
    """The page, freshly loaded; at the end the browser has had nothing to complain about."""
    driver, folder = chromium
    for file in folder.iterdir():
        file.unlink()
    page = browser.Page(driver, address, folder)
    page.size(1280, 800)
    page.prefer("light")
    page.load()
    page.forget()
    page.load()
    page.console()
    yield page
    assert page.console() == []
    page.call(
        "const { keptIds } = await import('/page/stored.js');"
        "for (const id of keptIds('video')) await fetch(`v1/sessions/${id}`, { method: 'DELETE' })"
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A file with a red disc, a blue square and a green triangle, of the canvas's aspect ratio."""
    picture = Image.new("RGB", (900, 600), (228, 226, 215))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((100, 180, 340, 420), fill=(215, 40, 40))
    draw.rectangle((400, 190, 600, 390), fill=(40, 80, 210))
    draw.polygon([(760, 180), (860, 410), (660, 410)], fill=(30, 150, 60))
    path = tmp_path_factory.mktemp("shapes") / "shapes.png"
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "blobs.mp4"
    encode(list(clip.blobs(FRAMES, 320, 240)), str(path))
    return path


def place(page, x, y, width=900, height=600):
    """Where a pixel of the picture lies on the canvas, both from 0 to 1."""
    room = page.find("#picture").size
    scale = min(room["width"] / width, room["height"] / height)
    return (
        0.5 + (x - width / 2) * scale / room["width"],
        0.5 + (y - height / 2) * scale / room["height"],
    )


def masked(page, count=1):
    """Waits until `count` objects have masks; returns the objects as the browser keeps them."""

    def found():
        kept = page.kept()
        objects = [thing for thing in (kept or {}).get("objects", []) if thing["rle"]]
        return objects if len(objects) == count else None

    return page.wait(found, f"{count} masks")


def pixels(thing):
    return coco.decode(thing["rle"]).astype(bool)


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


DISC = (220, 300)
SQUARE = (500, 290)


def disc():
    y, x = np.mgrid[:600, :900]
    return np.hypot(x - 220, y - 300) <= 120


def test_a_click_gives_its_mask_within_a_second(page, shapes, tiny):
    page.open(shapes)
    page.click(*place(page, *SQUARE))  # the first prompt of a process is slower
    masked(page)
    page.find("#new").click()
    before = page.pixel(*place(page, *DISC))
    start = time.monotonic()
    page.click(*place(page, *DISC))
    page.wait(lambda: page.pixel(*place(page, 180, 330)) != before, "a mask", 5)
    assert time.monotonic() - start < 1
    [square, found] = masked(page, 2)
    assert iou(pixels(found), disc()) > 0.9
    # What is drawn is what the model answers, at the point that was clicked.
    [[_, prompts]] = page.kept()["prompts"][1][1]
    points = np.array([prompts["points"]], np.float32)
    assert np.abs(points[0, 0] - DISC).max() < 2 and prompts["labels"] == [1]
    ours = tiny.predict(str(shapes), points=points, labels=np.array([[1]]))
    assert np.array_equal(ours.array[0], pixels(found))
    assert "score" in page.text("#status") and page.names() == ["object 1", "object 2"]


def test_a_right_click_and_the_tool_take_away(page, shapes):
    page.open(shapes)
    page.click(*place(page, *DISC))
    masked(page)
    page.click(*place(page, 260, 380), right=True)
    page.keys("x")
    page.click(*place(page, 120, 200))
    page.wait(lambda: len(prompts_of(page)["points"]) == 3, "three points")
    assert prompts_of(page)["labels"] == [1, 0, 0]
    page.wait(lambda: not iou(pixels(masked(page)[0]), disc()) > 0.99, "another mask")


def prompts_of(page, which=0):
    kept = page.kept()["prompts"]
    return kept[which][1][0][1] if kept and kept[which][1] else None


def test_a_drag_is_a_box_and_undo_takes_each_step_back(page, shapes):
    page.open(shapes)
    page.drag(place(page, 395, 185), place(page, 605, 395))
    [square] = masked(page)
    truth = np.zeros((600, 900), bool)
    truth[190:391, 400:601] = True
    assert iou(pixels(square), truth) > 0.85
    assert np.abs(np.array(prompts_of(page)["box"]) - [395, 185, 605, 395]).max() < 3
    page.click(*place(page, 420, 210))
    page.wait(lambda: len(prompts_of(page)["points"]) == 1, "a point")
    page.keys("z")
    page.wait(lambda: prompts_of(page)["points"] == [], "the point to be gone")
    page.wait(lambda: np.array_equal(pixels(masked(page)[0]), pixels(square)), "the earlier mask")
    page.keys("z")
    page.wait(lambda: page.names() == [], "the object to be gone")
    assert not page.find("#undo").is_enabled()


def test_words_and_what_they_find_can_be_corrected(page, shapes):
    page.open(shapes)
    page.find("#words").send_keys("red circle, blue square\n")
    page.wait(lambda: "found for" in page.text("#status"), "the answer")
    things = masked(page, 2)
    assert sorted(page.names()) == ["blue square", "red circle"]
    red = next(thing for thing in things if thing["name"] == "red circle")
    assert iou(pixels(red), disc()) > 0.85
    page.find(f"#objects [aria-label='Select {red['id']}, red circle']").click()
    page.click(*place(page, 180, 260))
    page.wait(lambda: prompts_of(page), "the correction")
    assert prompts_of(page)["box"] is not None, "the box found goes with the point"
    page.keys("z", "z")
    page.wait(lambda: page.names() == [], "one step to undo the words")
    page.find("#words").send_keys(Keys.CONTROL, "a")
    page.find("#words").send_keys("zeppelin\n")
    page.wait(lambda: "Nothing scores" in page.text("#status"), "the advice")


def test_everything_with_progress(page, shapes):
    page.open(shapes)
    page.find("#everything").click()
    page.wait(lambda: "found." in page.text("#status"), "the end")
    count = int(page.text("#count"))
    assert count >= 3 and page.text("#status") == f"{count} objects found."
    assert max(iou(pixels(thing), disc()) for thing in masked(page, count)) > 0.85
    assert not page.find("#job").is_displayed()


def test_reload_keeps_an_image_with_its_objects(page, shapes):
    page.open(shapes)
    page.click(*place(page, *DISC))
    [before] = masked(page)
    name = page.find("#objects input")
    name.clear()
    name.send_keys("a disc\n")
    page.driver.refresh()
    page.wait(lambda: page.names() == ["a disc"], "the object")
    [after] = masked(page)
    assert after["rle"] == before["rle"] and len(prompts_of(page)["points"]) == 1
    page.click(*place(page, 260, 300))
    page.wait(lambda: len(prompts_of(page)["points"]) == 2, "one more point on the same object")


def test_exports_of_an_image(page, shapes):
    page.open(shapes)
    page.click(*place(page, *SQUARE))
    masked(page)
    page.keys("n")
    page.click(*place(page, *DISC))
    things = masked(page, 2)
    export(page, 4)
    annotated = json.loads(page.downloaded("_coco.json").read_text())
    for thing, annotation in zip(things, annotated["annotations"], strict=True):
        assert np.array_equal(coco.decode(annotation["segmentation"]), pixels(thing))
        assert annotation["area"] == pixels(thing).sum() == coco.area(thing["rle"])
        assert annotation["bbox"] == coco.toBbox(thing["rle"]).tolist()
    label = np.asarray(Image.open(page.downloaded("_png.png")))
    assert label.dtype == np.uint8
    for thing in things:
        assert iou(label == thing["id"], pixels(thing)) > 0.99
    rows = list(csv.DictReader(io.StringIO(page.downloaded("_csv.csv").read_text())))
    assert [row["name"] for row in rows] == ["object 1", "object 2"]
    assert Image.open(page.downloaded("_overlay.png")).size == (900, 600)


def export(page, count):
    """Presses each entry of the menu."""
    for entry in range(count):
        page.find("#export").click()
        page.wait(lambda entry=entry: page.all("#export-menu button")[entry].is_displayed(), "menu")
        page.all("#export-menu button")[entry].click()
        page.wait(lambda: "Saved as" in page.text("#status"), "the file", 60)


# --------------------------------------------------------------------------- videos


def clicked_blob(page, frame=0):
    x, y, _, _ = clip.place(1, frame, FRAMES, 320, 240)
    page.click(*place(page, x, y, 320, 240))
    page.wait(lambda: "%" in page.text("#status") or "nothing" in page.text("#status"), "a mask")


def session(page):
    """The session as the server tells it."""
    return page.call("return (await fetch('v1/sessions/' + location.hash.split('=')[1])).json()")


def propagated(page, seconds=120):
    page.wait(lambda: "Propagation is finished" in page.text("#status"), "the end", seconds)


def lane_pixels(page):
    """How many columns of the first lane are in the object's colour."""
    return page.driver.execute_script(
        "const c = document.getElementById('lanes');"
        "const d = c.getContext('2d').getImageData(0, 6, c.width, 1).data;"
        "let n = 0; for (let i = 0; i < d.length; i += 4)"
        "  if (Math.max(d[i], d[i+1], d[i+2]) - Math.min(d[i], d[i+1], d[i+2]) > 60) n += 1;"
        "return n / c.width"
    )


def test_a_video_from_click_to_export(page, video):
    page.open(video)
    clicked_blob(page)
    assert lane_pixels(page) < 0.1
    page.find("#follow button").click()
    page.wait(lambda: "frames/s" in page.text("#job-figures"), "figures")
    propagated(page)
    assert not page.find("#job").is_displayed()
    assert session(page)["objects"][0]["frames_with_masks"] == list(range(FRAMES))
    assert lane_pixels(page) > 0.9
    # Scrubbing shows the frame with its masks.
    slider = page.find("#slider")
    slider.send_keys(Keys.HOME)
    page.wait(lambda: page.find("#number").get_attribute("value") == "0", "the first frame")
    first = page.pixel(0.5, 0.5)
    slider.send_keys(Keys.END)
    page.wait(lambda: page.find("#number").get_attribute("value") == str(FRAMES - 1), "the last")
    page.wait(lambda: page.pixel(0.5, 0.5) != first, "another picture")
    assert "masks of object 1" in slider.get_attribute("aria-valuetext")
    export(page, 4)
    frames = json.loads(page.downloaded("_coco.json").read_text())["frames"]
    shown = page.call(
        "const id = location.hash.split('=')[1];"
        "return (await fetch(`v1/sessions/${id}/frames/7/masks`)).json()"
    )
    assert len(frames) == FRAMES and shown["masks"]["1"]["area"] > 0
    assert frames[7]["objects"][0]["segmentation"] == shown["masks"]["1"]["mask"]
    assert "frame" in page.downloaded("_csv.csv").read_text().splitlines()[0]
    assert len(zipfile.ZipFile(page.downloaded("_png.zip")).namelist()) == FRAMES
    assert page.downloaded("_overlay.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_correction_where_it_drifted(page, video):
    page.open(video)
    clicked_blob(page)
    page.keys("p")
    propagated(page)
    number = page.find("#number")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("10\n")
    page.wait(lambda: "frame 10" in page.find("#picture").get_attribute("aria-label"), "frame 10")
    clicked_blob(page, 10)
    button = page.wait(lambda: page.all(".message button"), "the offer")[0]
    assert button.text == "Propagate from here"
    assert session(page)["objects"][0]["prompted_frames"] == [0, 10]
    button.click()
    propagated(page)
    page.keys("[", "[")
    page.wait(lambda: "frame 0" in page.find("#picture").get_attribute("aria-label"), "frame 0")


def test_a_run_is_cancelled_and_a_reload_takes_it_up(page, video):
    page.open(video)
    clicked_blob(page)
    page.keys("p")
    page.wait(lambda: page.find("#job").is_displayed(), "progress")
    page.driver.refresh()
    page.wait(
        lambda: page.find("#job").is_displayed() or lane_pixels(page) > 0.9,
        "the run that goes on",
    )
    if page.find("#job").is_displayed():
        page.find("#job-cancel").click()
    page.wait(lambda: not page.find("#job").is_displayed(), "the end")
    assert page.names() == ["object 1"]
    page.keys("n")
    assert "new object" in page.text("#status")


def test_reload_keeps_a_session(page, video):
    page.open(video)
    clicked_blob(page)
    name = page.find("#objects input")
    name.clear()
    name.send_keys("a blob\n")
    page.wait(lambda: session(page)["objects"][0]["name"] == "a blob", "the name on the server")
    before = page.driver.current_url
    page.driver.refresh()
    page.wait(lambda: page.names() == ["a blob"], "the object")
    assert page.driver.current_url == before
    page.wait(lambda: page.pixel(0.5, 0.5)[3] == 255, "the picture")
    page.keys("n")
    clicked_blob(page, 3)
    page.wait(lambda: len(session(page)["objects"]) == 2, "another object")
    page.keys("z")
    page.wait(lambda: len(session(page)["objects"]) == 1, "undo on the server")


def test_a_full_server_offers_to_close_the_oldest_session(page, video):
    for count in range(MOST_SESSIONS + 1):
        if count == MOST_SESSIONS:
            page.find("#file").send_keys(str(video))
            offer = page.wait(lambda: page.all(".message.error button"), "the offer")[0]
            assert "max_sessions" in page.text(".message.error p")
            page.console()  # the browser itself lists the answer of 429
            before = page.driver.current_url
            offer.click()
            page.wait(lambda: page.driver.current_url != before, "the video")
        else:
            page.load()
            page.open(video)
    page.wait(lambda: session(page)["objects"] == [], "a session")


def test_deleting_and_its_undo_reach_the_server(page, video):
    page.open(video)
    clicked_blob(page)
    page.find("#objects .bin").click()
    page.wait(lambda: session(page)["objects"] == [], "the object to be gone")
    page.keys("z")
    page.wait(lambda: len(session(page)["objects"]) == 1, "the object to be back")
    assert session(page)["objects"][0]["prompted_frames"] == [0]


def test_playing_shows_frames_in_turn(page, video):
    page.open(video)
    page.keys(" ")
    page.wait(lambda: page.find("#play").get_attribute("aria-label") == "Pause", "playing")
    page.wait(lambda: int(page.find("#number").get_attribute("value")) > 2, "later frames")
    page.wait(lambda: page.find("#play").get_attribute("aria-label") == "Play", "the end", 30)
    assert page.find("#number").get_attribute("value") == str(FRAMES - 1)


# --------------------------------------------------------------------------- for everybody


def test_everything_works_by_keyboard_alone(page, shapes):
    page.open(shapes)
    focused = "return document.activeElement.id"
    for _ in range(20):
        page.keys(Keys.TAB)
        if page.driver.execute_script(focused) == "picture":
            break
    assert page.driver.execute_script(focused) == "picture", "Tab reaches the picture"
    page.keys(*[Keys.ARROW_LEFT] * 31)  # 9 pixels each, from the middle to the disc
    assert page.text("#status").startswith("Crosshair at 17")
    page.keys(Keys.ENTER)
    [found] = masked(page)
    assert iou(pixels(found), disc()) > 0.8
    page.keys("n", *[Keys.ARROW_RIGHT] * 22, *[Keys.ARROW_UP] * 15, "b")
    page.keys(*[Keys.ARROW_RIGHT] * 28, *[Keys.ARROW_DOWN] * 27, "b")
    masked(page, 2)
    assert prompts_of(page, 1)["box"] is not None
    page.keys("1", Keys.DELETE)
    page.wait(lambda: page.names() == ["object 2"], "the first object to be deleted")
    page.keys("?")
    assert page.find("#help-dialog").is_displayed()
    page.keys(Keys.ESCAPE)
    page.wait(lambda: not page.find("#help-dialog").is_displayed(), "the help to be closed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_roles_labels_and_contrast(page, shapes, video, scheme):
    page.prefer(scheme)
    assert page.faults() == [], "before anything is open"
    page.open(shapes)
    page.click(*place(page, *DISC))
    masked(page)
    page.find("summary").click()
    assert page.faults() == [], "an image with an object"
    page.find("#help").click()
    assert page.faults() == [], "the help"
    page.keys(Keys.ESCAPE)
    page.open(video)
    clicked_blob(page)
    page.find("#export").click()
    assert page.faults() == [], "a video, and the menu"
    page.size(360, 740)
    assert page.faults() == [], "a narrow screen"


def test_it_fits_into_360_pixels(page, video):
    page.size(360, 740)
    page.load()
    page.open(video)
    clicked_blob(page)
    widths = page.driver.execute_script(
        "return [...document.querySelectorAll('button, input, select, canvas')]"
        ".filter((e) => e.checkVisibility()).map((e) => [e.id || e.className || e.type,"
        " e.getBoundingClientRect().left, e.getBoundingClientRect().right])"
    )
    assert len(widths) > 20
    assert [each for each in widths if each[1] < -1 or each[2] > 361] == []
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    page.find("#follow button").click()
    propagated(page)


def test_errors_say_what_to_do(page, tmp_path, video):
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    page.find("#file").send_keys(str(text))
    page.wait(lambda: page.all(".message.error p"), "an error")
    assert "image" in page.text(".message.error p")
    assert page.find("#messages").get_attribute("role") == "alert"
    page.find(".message [aria-label='Close this message']").click()
    assert page.all(".message") == []
    page.load("#session=00000000000000000000000000000000")
    page.wait(lambda: page.all(".message.error p"), "an error")
    assert "Open the file again" in page.text(".message.error p")
    assert page.find("#choose").is_displayed()
    page.console()  # the browser itself lists answers of 400 and 404


def test_a_token_is_asked_for_once_and_leaves_the_address(page, shapes):
    with serving(Settings(token="a secret", device="cpu")) as address:
        page.url = address
        page.load()
        page.find("#file").send_keys(str(shapes))
        page.wait(lambda: page.find("#token-dialog").is_displayed(), "the question")
        page.find("#token").send_keys("a secret\n")
        page.wait(lambda: page.text("#source").startswith("shapes.png"), "the image")
        page.click(*place(page, *DISC))
        masked(page)
        fragment = page.driver.current_url.split("#")[1]
        page.forget()
        page.load(f"#token=a%20secret&{fragment}")
        page.wait(lambda: page.text("#source").startswith("image"), "the image")
        assert page.driver.current_url.split("#")[1] == fragment
        page.load()
        page.console()  # the browser itself lists answers of 401


def test_a_file_that_is_dropped_is_opened(page, shapes):
    page.call(
        "const bytes = Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0));"
        "const transfer = new DataTransfer();"
        "transfer.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));"
        "for (const name of ['dragenter', 'drop']) document.body.dispatchEvent(new DragEvent("
        "name, { dataTransfer: transfer, bubbles: true, cancelable: true }));",
        __import__("base64").b64encode(shapes.read_bytes()).decode(),
    )
    page.wait(lambda: page.text("#source").startswith("dropped.png"), "the file")


def test_nothing_comes_from_elsewhere(page, shapes, address):
    page.open(shapes)
    page.click(*place(page, *DISC))
    masked(page)
    names = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(names) > 15
    assert [name for name in names if not name.startswith((address, "blob:"))] == []
    blocked = page.call(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        "document.head.append(s); return window.ran === undefined"
    )
    assert blocked
    assert any("Content Security Policy" in line for line in page.console())


def random_masks():
    random = np.random.default_rng(3)
    yield np.zeros((7, 9), np.uint8)
    yield np.ones((7, 9), np.uint8)
    for height, width in ((1, 1), (1, 40), (40, 1), (37, 53), (300, 410)):
        yield (random.random((height, width)) < 0.5).astype(np.uint8)
    y, x = np.mgrid[:500, :700]
    for _ in range(3):
        cx, cy, r = random.uniform(0, 700), random.uniform(0, 500), random.uniform(20, 300)
        yield (np.abs(np.hypot(x - cx, y - cy) - r) < r / 3).astype(np.uint8)


def test_masks_are_decoded_as_pycocotools_encodes_them(page):
    for mask in random_masks():
        rle = coco.encode(np.asfortranarray(mask))
        box = coco.toBbox(rle)
        found = page.call(
            "const { Mask } = await import('/page/mask.js');"
            "const mask = new Mask({ size: given[0], counts: given[1] }, 1);"
            "let area = 0; const runs = [];"
            "for (const r of mask.rings()) for (let i = 0; i < r.length; i += 2) {"
            "  const j = (i + 2) % r.length; area += (r[i] * r[j + 1] - r[j] * r[i + 1]) / 2; }"
            "mask.forEachRun((x, top, bottom) => runs.push([x, top, bottom]));"
            "return { area: mask.area, rings: area, box: mask.box, runs,"
            "  holds: given[2].map(([x, y]) => mask.contains(x, y)) }",
            rle["size"],
            rle["counts"].decode(),
            (points := [[x, y] for y in range(mask.shape[0]) for x in range(mask.shape[1])][:3000]),
        )
        drawn = np.zeros_like(mask)
        for x, top, bottom in found["runs"]:
            drawn[top:bottom, x] = 1
        assert np.array_equal(drawn, mask)
        assert found["area"] == mask.sum() and found["rings"] == mask.sum()
        assert found["holds"] == [bool(mask[y, x]) for x, y in points]
        if mask.any():
            left, top, right, bottom = found["box"]
            assert [left, top, right - left, bottom - top] == box.tolist()
