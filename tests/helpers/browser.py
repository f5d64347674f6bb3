"""A headless Chromium driven over the WebDriver protocol with the standard library: no package to pin, no server but its own."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# swiftshader draws WebGL 2 without a GPU; the other flags keep Chromium from talking to anybody
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def missing() -> str | None:
    """Why there is no browser here; None when there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed (Debian: chromium, chromium-driver)" if absent else None


class Browser:
    """One window.

    Args:
        base: URL of the session.
    """

    def __init__(self, base: str) -> None:
        self.base = base

    def open(self, page: Path) -> None:
        """Opens a file."""
        request(f"{self.base}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns."""
        return request(f"{self.base}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The first true thing that a function body returns."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"after {seconds} s still not: {script}\n{self.console()}"
            time.sleep(0.1)
        return value

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return request(f"{self.base}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def scroll(self, selector: str, by: int) -> None:
        """Turns the wheel over the middle of an element."""
        box = "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
        place = f"{box} return [box.x, box.y, box.width, box.height]"
        x, y, width, height = self.run(place, selector)
        at = {"x": x + width / 2, "y": y + height / 2}
        self.command("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=by, **at)

    def console(self) -> list[dict[str, Any]]:
        """What was logged since the last call: warnings, errors, refused connections."""
        return request(f"{self.base}/se/log", {"type": "browser"})

    def screenshot(self, path: Path) -> Path:
        """Of the window, as PNG."""
        path.write_bytes(base64.b64decode(request(f"{self.base}/screenshot")))
        return path


@contextmanager
def browser(profile: Path, width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A window with a profile of its own, closed together with its driver."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        base = f"http://127.0.0.1:{_port(driver)}/session"
        options = {"args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = request(base, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(f"{base}/{session}")
        finally:
            request(f"{base}/{session}", method="DELETE")
    finally:
        driver.terminate()
        driver.wait(10)
        driver.stdout.close()


def request(url: str, content: Any = None, method: str | None = None) -> Any:
    """One request of the WebDriver protocol; its `value`."""
    data = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


def _port(driver: subprocess.Popen[str]) -> int:
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rpartition("port ")[2].strip().rstrip("."))
    raise AssertionError("chromedriver did not start")
