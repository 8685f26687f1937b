"""A browser on the page of the service: images with the packaged models, videos with a small model
of random weights."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from segrid.serve import Settings

from tests.serve.page import browser
from tests.serve.page.scenes import FRAMES
from tests.serve.page.server import MOST_SESSIONS, serving
from tests.tracking import clip
from tests.video.clips import encode


def pytest_collection_modifyitems(items):
    if browser.CHROMIUM is None or browser.DRIVER is None:
        for item in items:
            if "page" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(scope="session")
def address(video_model):
    trackers = (f"clip={video_model}",)
    settings = Settings(trackers=trackers, device="cpu", max_sessions=MOST_SESSIONS)
    with serving(settings) as found:
        yield found


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "blobs.mp4"
    encode(list(clip.blobs(FRAMES, 320, 240)), str(path))
    return path


@pytest.fixture(scope="session")
def long_video(video, tmp_path_factory):
    """A clip that begins as `video` does and that takes the model many seconds."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    encode(list(clip.blobs(FRAMES, 320, 240)) * 25, str(path))
    return path


@pytest.fixture(scope="session")
def large_video(tmp_path_factory):
    """Four frames of 1280 x 720 with a red disc: the server keeps frames of 1024 pixels."""
    frame = Image.new("RGB", (1280, 720), (228, 226, 215))
    ImageDraw.Draw(frame).ellipse((300, 200, 620, 520), fill=(215, 40, 40))
    path = tmp_path_factory.mktemp("video") / "large.mp4"
    encode([np.asarray(frame)] * 4, str(path))
    return path
