"""Makes the pictures of docs/serve.md: the page of `segrid serve` with the packaged models, in
headless Chromium. `python scripts/page_pictures.py [FOLDER]`."""

import io
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from demo_shapes import draw
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from skimage import data

TARGET = Path(__file__).parents[1] / "docs/pictures"
ADDRESS = "http://127.0.0.1:8912"
SIZE = {"width": 1200, "height": 740, "deviceScaleFactor": 1, "mobile": False}


def browser():
    """Chromium with a window of SIZE."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
    return driver


def opened(driver, scheme, picture, name):
    """Opens a PIL image in the page, in a colour scheme."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        picture.save(path)
        driver.find_element(By.ID, "file").send_keys(str(path))
        WebDriverWait(driver, 60).until(lambda _: name in driver.title)


def taken(driver, target):
    """Waits until objects are found, and saves the window."""
    status = driver.find_element(By.ID, "status")
    WebDriverWait(driver, 120).until(lambda _: "found" in status.text)
    driver.execute_script("document.activeElement.blur()")
    time.sleep(1)  # the masks are drawn in one of the next frames
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.save(target, quality=82)
    print(target)


def wait_for_server():
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{ADDRESS}/v1/ready").close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{ADDRESS} does not answer")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    port = ADDRESS.rsplit(":", 1)[1]
    server = subprocess.Popen([sys.executable, "-m", "segrid", "serve", "--port", port])
    driver = None
    try:
        wait_for_server()
        driver = browser()
        driver.get(ADDRESS)
        opened(driver, "light", Image.fromarray(data.coins()), "coins.png")
        driver.find_element(By.ID, "everything").click()
        taken(driver, folder / "page_everything.webp")
        opened(driver, "dark", draw(), "shapes.png")
        words = "a red circle, the yellow star, a blue square\n"
        driver.find_element(By.ID, "words").send_keys(words)
        taken(driver, folder / "page_words.webp")
    finally:
        if driver is not None:
            driver.quit()
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
