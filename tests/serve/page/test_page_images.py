"""Images on the page: clicks, boxes, words, everything, undo, reload, export."""

import csv
import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from selenium.webdriver.common.keys import Keys

from tests.serve.page.scenes import DISC, IMAGE, SQUARE, disc, iou, pixels


def test_a_click_gives_its_mask_within_a_second(page, shapes, tiny):
    page.open(shapes)
    page.click(*page.at(*SQUARE, IMAGE))  # the first prompt of a process is slower
    page.masked()
    seconds = []
    for _ in range(3):  # the fastest of three: the machine may be busy with other tests
        page.keys("n")
        page.time_change(*page.at(180, 330, IMAGE))
        page.click(*page.at(*DISC, IMAGE))
        masked = page.masked(2)
        seconds.append(page.call("return await window.changed"))
        if len(seconds) < 3:
            page.keys("z")
            page.wait(lambda: page.names() == ["object 1"], "undo")
    assert min(seconds) < 1, seconds
    [_, found] = masked
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
    page.click(*page.at(*DISC, IMAGE))
    page.masked()
    page.click(*page.at(260, 380, IMAGE), right=True)
    page.keys("x")
    page.click(*page.at(120, 200, IMAGE))
    page.wait(lambda: len(page.prompts()["points"]) == 3, "three points")
    assert page.prompts()["labels"] == [1, 0, 0]
    page.wait(lambda: not iou(pixels(page.masked()[0]), disc()) > 0.99, "another mask")


def test_a_drag_is_a_box_and_undo_takes_each_step_back(page, shapes):
    page.open(shapes)
    page.drag(page.at(395, 185, IMAGE), page.at(605, 395, IMAGE))
    [square] = page.masked()
    truth = np.zeros((600, 900), bool)
    truth[190:391, 400:601] = True
    assert iou(pixels(square), truth) > 0.85
    assert np.abs(np.array(page.prompts()["box"]) - [395, 185, 605, 395]).max() < 3
    page.click(*page.at(420, 210, IMAGE))
    page.wait(lambda: len(page.prompts()["points"]) == 1, "a point")
    page.keys("z")
    page.wait(lambda: page.prompts()["points"] == [], "the point to be gone")
    page.wait(lambda: np.array_equal(pixels(page.masked()[0]), pixels(square)), "the earlier mask")
    page.keys("z")
    page.wait(lambda: page.names() == [], "the object to be gone")
    assert not page.find("#undo").is_enabled()


def test_words_and_what_they_find_can_be_corrected(page, shapes):
    page.open(shapes)
    page.find("#words").send_keys("red circle, blue square\n")
    page.wait(lambda: "found for" in page.text("#status"), "the answer")
    things = page.masked(2)
    assert sorted(page.names()) == ["blue square", "red circle"]
    red = next(thing for thing in things if thing["name"] == "red circle")
    assert iou(pixels(red), disc()) > 0.85
    page.find(f"#objects [aria-label='Select {red['id']}, red circle']").click()
    page.click(*page.at(180, 260, IMAGE))
    page.wait(lambda: page.prompts(), "the correction")
    assert page.prompts()["box"] is not None, "the box found goes with the point"
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
    assert max(iou(pixels(thing), disc()) for thing in page.masked(count)) > 0.85
    assert not page.find("#job").is_displayed()


def test_reload_keeps_an_image_with_its_objects(page, shapes):
    page.open(shapes)
    page.click(*page.at(*DISC, IMAGE))
    [before] = page.masked()
    name = page.find("#objects input")
    name.clear()
    name.send_keys("a disc\n")
    page.driver.refresh()
    page.wait(lambda: page.names() == ["a disc"], "the object")
    [after] = page.masked()
    assert after["rle"] == before["rle"] and len(page.prompts()["points"]) == 1
    page.click(*page.at(260, 300, IMAGE))
    page.wait(lambda: len(page.prompts()["points"]) == 2, "one more point on the same object")


def test_the_eye_picking_and_clearing(page, shapes):
    page.open(shapes)
    plain = page.pixel(*page.at(180, 330, IMAGE))
    page.click(*page.at(*DISC, IMAGE))
    page.masked()
    page.keys("n")
    page.click(*page.at(*SQUARE, IMAGE))
    page.masked(2)
    assert page.pixel(*page.at(180, 330, IMAGE)) != plain
    page.find("#objects .eye").click()
    page.wait(lambda: page.pixel(*page.at(180, 330, IMAGE)) == plain, "the disc without its mask")
    page.find("#objects .eye").click()
    page.click(*page.at(180, 330, IMAGE), held=Keys.SHIFT)
    page.wait(lambda: "selected" in page.all("#objects li")[0].get_attribute("class"), "the disc")
    assert len(page.prompts(0)["points"]) == 1, "picking is no prompt"
    page.find("#clear").click()
    page.wait(lambda: page.names() == [], "no objects")
    page.keys("z")
    page.wait(lambda: page.names() == ["object 1", "object 2"], "both again")
    page.masked(2)


def test_zoom_shows_the_same_pixel_larger(page, shapes):
    page.open(shapes)
    page.click(*page.at(*DISC, IMAGE))
    page.masked()
    middle = page.pixel(0.5, 0.5)
    for _ in range(3):
        page.find("#zoom-in").click()
    page.wait(lambda: page.pixel(0.02, 0.5) != page.pixel(0.5, 0.5) == middle, "the square")
    page.keys("n")
    page.click(0.5, 0.5)
    page.masked(2)
    assert np.abs(np.array(page.prompts(1)["points"][0]) - (450, 300)).max() < 1


def test_exports_of_an_image(page, shapes):
    page.open(shapes)
    page.click(*page.at(*SQUARE, IMAGE))
    page.masked()
    page.keys("n")
    page.click(*page.at(*DISC, IMAGE))
    things = page.masked(2)
    page.export(4)
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
