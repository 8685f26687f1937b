"""The page for everybody: by keyboard, in both colour schemes, on narrow screens, after errors."""

import base64

import pytest
from segrid.serve import Settings
from selenium.webdriver.common.keys import Keys

from tests.serve.page.scenes import DISC, IMAGE, clicked_blob, disc, iou, pixels
from tests.serve.page.server import serving


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
    [found] = page.masked()
    assert iou(pixels(found), disc()) > 0.8
    page.keys("n", *[Keys.ARROW_RIGHT] * 22, *[Keys.ARROW_UP] * 15, "b")
    page.keys(*[Keys.ARROW_RIGHT] * 28, *[Keys.ARROW_DOWN] * 27, "b")
    page.masked(2)
    assert page.prompts(1)["box"] is not None
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
    page.click(*page.at(*DISC, IMAGE))
    page.masked()
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
    page.propagated()


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
        page.click(*page.at(*DISC, IMAGE))
        page.masked()
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
        base64.b64encode(shapes.read_bytes()).decode(),
    )
    page.wait(lambda: page.text("#source").startswith("dropped.png"), "the file")


def test_nothing_comes_from_elsewhere(page, shapes, address):
    page.open(shapes)
    page.click(*page.at(*DISC, IMAGE))
    page.masked()
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
