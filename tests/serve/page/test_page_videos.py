"""Videos on the page: objects, propagation, the timeline, corrections, reload, export."""

import json
import zipfile

import numpy as np
from pycocotools import mask as coco
from selenium.webdriver.common.keys import Keys

from tests.serve.page.scenes import FRAMES, clicked_blob
from tests.serve.page.server import MOST_SESSIONS


def test_a_video_from_click_to_export(page, video):
    page.open(video)
    clicked_blob(page)
    assert page.lane() < 0.1
    page.find("#follow button").click()
    page.propagated()
    # The panel is hidden by now; its text is that of the last progress.
    assert "frames/s" in page.find("#job-figures").get_attribute("textContent")
    assert not page.find("#job").is_displayed()
    assert page.session()["objects"][0]["frames_with_masks"] == list(range(FRAMES))
    assert page.lane() > 0.9
    # Scrubbing shows the frame with its masks.
    slider = page.find("#slider")
    slider.send_keys(Keys.HOME)
    page.wait(lambda: page.find("#number").get_attribute("value") == "0", "the first frame")
    first = page.pixel(0.5, 0.5)
    slider.send_keys(Keys.END)
    page.wait(lambda: page.find("#number").get_attribute("value") == str(FRAMES - 1), "the last")
    page.wait(lambda: page.pixel(0.5, 0.5) != first, "another picture")
    assert "masks of object 1" in slider.get_attribute("aria-valuetext")
    page.export(4)
    frames = json.loads(page.downloaded("_coco.json").read_text())["frames"]
    largest = max(frames[1:], key=lambda frame: frame["objects"][0]["area"])
    assert len(frames) == FRAMES and largest["objects"][0]["area"] > 0, "vacuous"
    shown = page.session(f"/frames/{largest['index']}/masks")["masks"]["1"]
    found, told = largest["objects"][0]["segmentation"], shown["mask"]
    assert np.array_equal(coco.decode(found), coco.decode(told))
    assert "frame" in page.downloaded("_csv.csv").read_text().splitlines()[0]
    assert len(zipfile.ZipFile(page.downloaded("_png.zip")).namelist()) == FRAMES
    assert page.downloaded("_overlay.mp4").read_bytes()[4:8] == b"ftyp"


def followed_at_frame_10(page, video):
    """Follows an object through the video, and shows frame 10."""
    page.open(video)
    clicked_blob(page)
    page.keys("p")
    page.propagated()
    number = page.find("#number")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("10\n")
    page.wait(lambda: page.frame() == 10, "frame 10")


def test_a_correction_where_it_drifted(page, video):
    followed_at_frame_10(page, video)
    clicked_blob(page, 10)
    button = page.wait(lambda: page.all(".message button"), "the offer")[0]
    assert button.text == "Propagate from here"
    assert page.session()["objects"][0]["prompted_frames"] == [0, 10]
    button.click()
    page.propagated()
    page.keys("[", "[")
    page.wait(lambda: page.frame() == 0, "frame 0")


def test_a_run_is_cancelled_and_a_reload_takes_it_up(page, long_video):
    page.open(long_video)
    clicked_blob(page)
    page.keys("p")
    page.wait(lambda: page.find("#job").is_displayed(), "progress")
    page.driver.refresh()
    page.wait(lambda: page.find("#job").is_displayed(), "the run that goes on")
    page.find("#job-cancel").click()
    page.wait(lambda: not page.find("#job").is_displayed(), "the end")
    found = page.session()
    assert 1 < len(found["objects"][0]["frames_with_masks"]) < found["frames"]
    assert page.names() == ["object 1"]
    page.keys("n")
    assert "new object" in page.text("#status")


def test_reload_keeps_a_session(page, video):
    page.open(video)
    clicked_blob(page)
    name = page.find("#objects input")
    name.clear()
    name.send_keys("a blob\n")
    page.wait(lambda: page.session()["objects"][0]["name"] == "a blob", "the name on the server")
    before = page.driver.current_url
    page.driver.refresh()
    page.wait(lambda: page.names() == ["a blob"], "the object")
    assert page.driver.current_url == before
    page.wait(lambda: page.pixel(0.5, 0.5)[3] == 255, "the picture")
    page.keys("n")
    clicked_blob(page, 3)
    page.wait(lambda: len(page.session()["objects"]) == 2, "another object")
    page.keys("z")
    page.wait(lambda: len(page.session()["objects"]) == 1, "undo on the server")


def test_a_full_server_offers_to_close_the_oldest_session(page, video):
    for _ in range(MOST_SESSIONS):
        page.load()
        page.open(video)
    page.find("#file").send_keys(str(video))
    offer = page.wait(lambda: page.all(".message.error button"), "the offer")[0]
    assert "max_sessions" in page.text(".message.error p")
    page.console()  # the browser itself lists the answer of 429
    before = page.driver.current_url
    offer.click()
    page.wait(lambda: page.driver.current_url != before, "the video")
    page.wait(lambda: page.session()["objects"] == [], "a session")


def test_deleting_and_its_undo_reach_the_server(page, video):
    page.open(video)
    clicked_blob(page)
    page.find("#objects .bin").click()
    page.wait(lambda: page.session()["objects"] == [], "the object to be gone")
    page.keys("z")
    page.wait(lambda: len(page.session()["objects"]) == 1, "the object to be back")
    assert page.session()["objects"][0]["prompted_frames"] == [0]


def test_playing_shows_frames_in_turn(page, video):
    page.open(video)
    page.keys(" ")
    page.wait(lambda: page.find("#play").get_attribute("aria-label") == "Pause", "playing")
    page.wait(lambda: int(page.find("#number").get_attribute("value")) > 2, "later frames")
    page.wait(lambda: page.find("#play").get_attribute("aria-label") == "Play", "the end", 30)
    assert page.find("#number").get_attribute("value") == str(FRAMES - 1)


def test_an_undone_correction_shows_the_earlier_mask(page, video):
    followed_at_frame_10(page, video)
    before = page.session("/frames/10/masks")["masks"]["1"]["mask"]
    shown = page.canvas()
    clicked_blob(page, 10)
    page.wait(lambda: page.canvas() != shown, "the corrected mask")
    assert page.session("/frames/10/masks")["masks"]["1"]["mask"] != before, "vacuous"
    page.keys("z")
    page.wait(lambda: "Undone" in page.text("#status"), "the step back")
    assert page.session("/frames/10/masks")["masks"]["1"]["mask"] == before
    page.wait(lambda: page.canvas() == shown, "the earlier mask")


def test_words_and_everything_on_a_video_of_which_the_server_keeps_smaller_frames(
    page, large_video
):
    page.open(large_video)
    page.find("#words").send_keys("red circle\n")
    page.wait(lambda: page.names() == ["red circle"], "what the words name")
    x0, y0, x1, y1 = page.wait(page.prompts, "its prompt")["box"]
    disc = (300, 200, 620, 520)  # as `large_video` draws it
    assert all(abs(a - b) < 90 for a, b in zip((x0, y0, x1, y1), disc, strict=True))
    page.find("#everything").click()
    page.wait(lambda: len(page.names()) > 1, "more objects", 60)


def failing(page, pattern, method):
    """Lets the server's answers to some calls be errors, until `mended`."""
    page.driver.execute_script(
        "window.own = window.fetch; const [pattern, method] = arguments;"
        "window.fetch = (url, more = {}) => RegExp(pattern).test(url)"
        "  && (more.method ?? 'GET') === method"
        '  ? Promise.resolve(new Response(\'{"error": {"message": "it is damaged"}}\','
        "    { status: 422, headers: { 'content-type': 'application/json' } }))"
        "  : window.own(url, more);",
        pattern,
        method,
    )


def test_playing_ends_at_a_frame_that_does_not_come(page, video):
    page.open(video)
    failing(page, "frames/1[4-9]", "GET")
    page.find("#play").click()
    page.wait(lambda: "it is damaged" in page.text("#messages"), "the reason")
    assert page.find("#play").get_attribute("aria-label") == "Play" and page.frame() < 14
    page.driver.execute_script("window.fetch = window.own")


def test_a_step_back_that_fails_can_be_tried_again(page, video):
    page.open(video)
    clicked_blob(page)
    failing(page, "objects/1", "DELETE")
    page.keys("z")
    page.wait(lambda: "it is damaged" in page.text("#messages"), "the reason")
    page.driver.execute_script("window.fetch = window.own")
    page.keys("z")
    page.wait(lambda: "Undone" in page.text("#status"), "the step back")
    assert page.session()["objects"] == []
