"""Chromium over the Dagster UI: pages opened as a person opens them, and their pictures.

Waiting is for what the page says, never for a time. A picture is taken when nothing has
moved for a while, so that it shows a page that has come to rest.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.ui.dev import POLL_SECONDS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
DRIVER = Path(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
ARTEFACTS = Path(os.environ.get("RNN_SCREENSHOTS") or Path(__file__).parent / "artefacts")
WIDTH, HEIGHT = 1600, 1000
PATIENCE = 120.0  # seconds for a page to show what is expected of it
STILL = 4.0  # seconds without a change: a page at rest
REST = 20.0  # seconds at most for that; one with a countdown never is
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing() -> str | None:
    """What a browser test needs and does not find; None where all is there."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no selenium: `make test-browser` installs the extra `browser`"
    for program in (CHROMIUM, DRIVER):
        if not program.is_file():
            return f"no {program}: apt-get install chromium chromium-driver"
    return None


class Browser:
    """A window on the UI.

    Args:
        driver: of the browser.
        url: of the UI.
    """

    def __init__(self, driver: Chrome, url: str) -> None:
        self._driver = driver
        self._url = url

    @property
    def driver(self) -> Chrome:
        """Selenium's driver, for what a page alone asks of it."""
        return self._driver

    def script(self, code: str) -> Any:
        """The answer of JavaScript on the page."""
        return self._driver.execute_script(code)

    def open(self, path: str, *expected: str) -> None:
        """Open a page and wait until it shows what is expected."""
        self._driver.get(self._url + path)
        self.see(*expected)

    def resize(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Give the window another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def text(self) -> str:
        """What the page says, in lines."""
        return str(self._driver.execute_script("return document.body.innerText"))

    def see(self, *expected: str) -> None:
        """Wait until the page says all of it.

        Raises:
            AssertionError: it never does; with what it says.
        """

        def absent() -> list[str]:
            text = self.text()
            return [words for words in expected if words not in text]

        self.until(lambda: not absent(), lambda: f"{absent()} not on the page:\n{self.text()}")

    def see_at_the_end(self, expected: str) -> None:
        """Scroll whatever scrolls to its end until the page says it: a long log shows a part.

        Raises:
            AssertionError: it never does; with what it says.
        """

        def shows() -> bool:
            self._driver.execute_script(
                "document.querySelectorAll('*').forEach("
                "e => { if (e.scrollHeight > e.clientHeight) e.scrollTop = e.scrollHeight; })"
            )
            return expected in self.text()

        self.until(shows, lambda: f"{expected} not on the page:\n{self.text()}")

    def until(self, question: Callable[[], Any], why: Callable[[], str]) -> Any:
        """Ask until the answer is true.

        Raises:
            AssertionError: it never is; with `why`, and a picture beside the others.
        """
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            if answer := question():
                return answer
            time.sleep(POLL_SECONDS)
        self.save("failure")
        raise AssertionError(f"{self._driver.current_url}: {why()}")

    def press(self, label: str, tag: str = "*") -> None:
        """Click on the first thing in sight with this label.

        Args:
            label: all that is written on it.
            tag: its HTML element; whatever it is without one.
        """
        self.until(lambda: self._pressed(label, tag), lambda: f"no {tag} called {label!r}")

    def _pressed(self, label: str, tag: str) -> bool:
        """Whether it could be clicked: a page may still be moving."""
        from selenium.common.exceptions import WebDriverException

        says = f'normalize-space(.)="{label}"'
        innermost = f"[not(.//*[{says}])]" if tag == "*" else ""
        found = f"//{tag}[{says}]{innermost}"
        for element in self._driver.find_elements("xpath", found):
            with contextlib.suppress(WebDriverException):
                self._driver.execute_script(
                    "arguments[0].scrollIntoView({block: 'center'})", element
                )
                element.click()
                return True
        return False

    def element(self, selector: str) -> WebElement:
        """The first element of a CSS selector, as soon as it is there."""
        found = self.until(
            lambda: self._driver.find_elements("css selector", selector),
            lambda: f"no element {selector!r}",
        )
        first: WebElement = found[0]
        return first

    def switch(self) -> None:
        """Turn the only switch of the page."""
        self._driver.execute_script("arguments[0].click()", self.element("input[type=checkbox]"))

    def widths_of_pictures(self) -> list[int]:
        """Width of each inline picture that the page has decoded, in pixels."""
        script = (
            "return [...document.querySelectorAll('img[src^=\"data:image/png\"]')]"
            ".filter(i => i.complete).map(i => i.naturalWidth)"
        )
        return list(self._driver.execute_script(script))

    def save(self, name: str) -> Path:
        """The page as a picture, once it has come to rest."""
        picture = self._driver.get_screenshot_as_png()
        now = since = time.monotonic()
        ends = now + REST
        while now < min(ends, since + STILL):
            time.sleep(2 * POLL_SECONDS)
            before, picture = picture, self._driver.get_screenshot_as_png()
            now = time.monotonic()
            since = since if picture == before else now
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        path.write_bytes(picture)
        return path


@contextlib.contextmanager
def chromium(url: str, profile: Path) -> Iterator[Browser]:
    """A headless browser, ended with the block.

    Args:
        url: of the UI.
        profile: a folder for what the browser stores.
    """
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        browser = Browser(driver, url)
        browser.resize()
        yield browser
    finally:
        driver.quit()
