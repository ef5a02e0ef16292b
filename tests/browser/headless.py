"""A headless Chromium that opens the pages of this project and reports everything they do."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Chromium asks nobody anything and draws in software; an empty profile each time.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_PHONE_WIDTH = 500


@dataclass(frozen=True)
class Browser:
    """A running browser.

    Parameters
    ----------
    driver
        Selenium's driver.
    screenshots
        Where the screenshots go that people look at.
    """

    driver: webdriver.Chrome
    screenshots: Path

    def open(self, page: Path, *, width: int = 1000, scheme: str = "light") -> None:
        """Open a file at a width in pixels and in a colour scheme, and forget what was logged before."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                     mobile=width < _PHONE_WIDTH)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media="screen", features=features)
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def command(self, name: str, **arguments: object) -> dict[str, Any]:
        """Send a command of the DevTools protocol."""
        result: dict[str, Any] = self.driver.execute_cdp_cmd(name, arguments)
        return result

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and return its value."""
        return self.driver.execute_script(script, *arguments)

    def list_requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened; ``data:`` stays in the page."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = (m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent")
        return [address for address in sent if not address.startswith(("data:", "about:"))]

    def list_errors(self) -> list[str]:
        """Return the errors on the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def save_screenshot(self, name: str) -> Path:
        """Save the whole page as a picture."""
        width, height = self.run("const e = document.documentElement; return [e.clientWidth, e.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12000), "scale": 1}
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        self.screenshots.mkdir(parents=True, exist_ok=True)
        path = self.screenshots / f"{name}.png"
        path.write_bytes(b64decode(taken["data"]))
        return path

    def look_at(self, selector: str) -> Image.Image:
        """Return what an element looks like."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        return Image.open(BytesIO(element.screenshot_as_png)).convert("RGB")

    def find_violations(self) -> list[str]:
        """Return what axe-core finds against WCAG 2.1 A and AA, contrast of text included."""
        from axe_core_python.selenium import Axe

        rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
        found = Axe().run(self.driver, options=rules)["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@contextmanager
def start_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser; screenshots go to ``QDIP_SCREENSHOTS`` or to the folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with TemporaryDirectory() as profile:
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver, Path(os.environ.get("QDIP_SCREENSHOTS", folder)))
        finally:
            driver.quit()
