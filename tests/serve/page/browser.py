"""Headless Chromium on the page of the service: what a user does, and what a user sees."""

import re
import shutil
import time

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def start(downloads):
    """A browser whose downloads go to a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(30)
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    return driver


class Page:
    """The page in a browser."""

    def __init__(self, driver, url, downloads):
        self.driver, self.url, self.downloads = driver, url, downloads

    def size(self, width, height):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def prefer(self, scheme):
        """The user's colour scheme: "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def load(self, fragment=""):
        """Loads the page anew: a change of the fragment alone would not."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/{fragment}")

    def forget(self):
        """Drops what the browser keeps."""
        self.driver.execute_script("localStorage.clear(); sessionStorage.clear()")

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def wait(self, condition, what, seconds=20):
        """Waits for a condition; returns what it gives."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except StaleElementReferenceException:
                pass
            time.sleep(0.02)
        raise AssertionError(
            f"waited for {what}; status: {self.text('#status')!r}, "
            f"messages: {self.text('#messages')!r}, console: {self.console()}"
        )

    def open(self, file):
        """Opens a file by the button's input, and waits until its picture is there."""
        self.find("#file").send_keys(str(file))
        self.wait(lambda: self.text("#source").startswith(file.name), f"{file.name} to be open")
        self.wait(lambda: self.pixel(0.5, 0.5)[3] == 255, "the picture")

    def click(self, x, y, *, right=False, held=None):
        """Clicks at a place of the canvas, both from 0 to 1, while a key is held."""
        actions = self._at(x, y)
        if held:
            actions.key_down(held)
        actions = actions.context_click() if right else actions.click()
        if held:
            actions.key_up(held)
        actions.perform()

    def drag(self, start, end):
        dx, dy = (end[0] - start[0]) * self._width(), (end[1] - start[1]) * self._height()
        self._at(*start).click_and_hold().move_by_offset(int(dx), int(dy)).release().perform()

    def _width(self):
        return self.find("#picture").size["width"]

    def _height(self):
        return self.find("#picture").size["height"]

    def _at(self, x, y):
        return ActionChains(self.driver, duration=0).move_to_element_with_offset(
            self.find("#picture"),
            round((x - 0.5) * self._width()),
            round((y - 0.5) * self._height()),
        )

    def at(self, x, y, size):
        """Where a pixel of a picture of (width, height) lies on the canvas, both from 0 to 1."""
        scale = min(self._width() / size[0], self._height() / size[1])
        return (
            0.5 + (x - size[0] / 2) * scale / self._width(),
            0.5 + (y - size[1] / 2) * scale / self._height(),
        )

    def keys(self, *keys):
        """Presses keys one after the other, where the focus is."""
        actions = ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def pixel(self, x, y):
        """R, G, B, A of the canvas at a place."""
        return self.driver.execute_script(
            "const c = document.getElementById('picture');"
            "return [...c.getContext('2d').getImageData("
            "Math.floor(arguments[0] * c.width), Math.floor(arguments[1] * c.height), 1, 1).data]",
            x,
            y,
        )

    def canvas(self):
        """The canvas as a PNG's text."""
        return self.driver.execute_script(
            "return document.getElementById('picture').toDataURL('image/png')"
        )

    def time_change(self, x, y):
        """Makes `window.changed` a promise of the seconds from the next click to another colour at
        a place of the canvas. The page takes the time: the driver itself is slow."""
        self.driver.execute_script(
            "const c = document.getElementById('picture'), g = c.getContext('2d');"
            "const [x, y] = [arguments[0] * c.width, arguments[1] * c.height].map(Math.floor);"
            "const read = () => g.getImageData(x, y, 1, 1).data.join();"
            "window.changed = new Promise((done) => c.addEventListener('pointerup', () => {"
            "  const [start, before] = [performance.now(), read()];"
            "  const look = () => read() === before ? requestAnimationFrame(look)"
            "    : done((performance.now() - start) / 1000);"
            "  look(); }, { once: true }));",
            x,
            y,
        )

    def names(self):
        return [field.get_attribute("value") for field in self.all("#objects input")]

    def kept(self):
        """What the browser keeps of the work that is open: objects with masks, and prompts."""
        return self.driver.execute_script(
            "const id = location.hash.split('=')[1];"
            "return JSON.parse(localStorage.getItem('segrid:work:' + id))"
        )

    def masked(self, count=1):
        """Waits until `count` objects of an image have masks; returns the objects."""

        def found():
            things = [thing for thing in (self.kept() or {}).get("objects", []) if thing["rle"]]
            return things if len(things) == count else None

        return self.wait(found, f"{count} masks")

    def prompts(self, which=0):
        """The prompts of an object in the first frame where it has any; None where it has none."""
        prompts = self.kept()["prompts"]
        return prompts[which][1][0][1] if prompts and prompts[which][1] else None

    def export(self, count):
        """Presses each entry of the export menu."""
        for entry in range(count):
            self.find("#export").click()
            button = self.all("#export-menu button")[entry]
            self.wait(button.is_displayed, "the menu")
            button.click()
            self.wait(lambda: "Saved as" in self.text("#status"), "the file", 60)

    def session(self, path=""):
        """What the server tells of the session that is open, or of a path below it."""
        return self.call(
            "const id = location.hash.split('=')[1];"
            "return (await fetch(`v1/sessions/${id}${given[0]}`)).json()",
            path,
        )

    def propagated(self):
        self.wait(lambda: "Propagation is finished" in self.text("#status"), "the end", 120)

    def frame(self):
        """The frame that is shown, as screen readers tell it."""
        label = self.find("#picture").get_attribute("aria-label")
        return int(re.search(r"frame (\d+)", label)[1])

    def lane(self):
        """The part of the first lane that is in the object's colour."""
        return self.driver.execute_script(
            "const c = document.getElementById('lanes');"
            "const d = c.getContext('2d').getImageData(0, 6, c.width, 1).data;"
            "let n = 0; for (let i = 0; i < d.length; i += 4)"
            "  if (Math.max(d[i], d[i+1], d[i+2]) - Math.min(d[i], d[i+1], d[i+2]) > 60) n += 1;"
            "return n / c.width"
        )

    def call(self, script, *arguments):
        """Runs an async function's body in the page and returns its result."""
        code = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...given) => {{ {script} }})(...arguments)"
            ".then((value) => done({ value }), (error) => done({ error: String(error) }));"
        )
        answer = self.driver.execute_async_script(code, *arguments)
        assert "error" not in answer, answer
        return answer.get("value")

    def downloaded(self, ending):
        """Waits for a download; returns its path."""
        found = self.wait(
            lambda: [path for path in self.downloads.iterdir() if path.name.endswith(ending)],
            f"a file *{ending}",
        )
        return found[0]

    def console(self):
        """What the browser has complained about since the last call."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
            and "readback" not in entry["message"]  # `pixel` reads the canvas often
        ]

    def faults(self):
        """What axe finds against WCAG 2 A and AA and its own good practices."""
        found = Axe().run(self.driver)
        return [
            f"{fault['id']}: {fault['help']}: {[node['html'][:120] for node in fault['nodes']]}"
            for fault in found["violations"]
        ]
