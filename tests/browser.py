"""Chromium for tests: pages are opened, clicked and typed into, and what they log or ask the network for is recorded.

The browser is driven over a pair of pipes by the Chrome DevTools Protocol, so nothing beside Debian's package
``chromium`` is needed. Use the fixture ``browser`` of tests/conftest.py::

    with browser.open(file, dark=True, width=400) as page:
        page.click("th button")
        assert page.value("document.title") == "..."
        page.assert_quiet()
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_SECONDS = 60.0  # for one answer: a loaded machine starts Chromium slowly
_KEYS = {  # key -> (code, number of the key, text that it types)
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
    "Escape": ("Escape", 27, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "PageDown": ("PageDown", 34, ""),
}


def find_chromium() -> str | None:
    """Where Chromium is, if it is."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


class Browser:
    """One Chromium process with a new, empty profile."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="pellucid-chromium-")
        to_browser, from_browser = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to_browser[0], from_browser[1])]

        def connect() -> None:  # in the child: Chromium reads from descriptor 3 and writes to 4
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=connect,
        )
        for descriptor in (to_browser[0], from_browser[1], *theirs):
            os.close(descriptor)
        self._write, self._read = to_browser[1], from_browser[0]
        self._rest = b""
        self._number = 0
        self._listeners: dict[str, Callable[[dict[str, Any]], None]] = {}

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask Chromium for something and wait for the answer; events go to their page meanwhile."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        until = time.monotonic() + _SECONDS
        while True:
            answer = self._message(until)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._event(answer)

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Take events until something holds."""
        end = time.monotonic() + _SECONDS
        while not until():
            self._event(self._message(end, what))

    @contextmanager
    def open(
        self,
        file: Path | str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        media: str = "screen",
        language: str = "en-US",
    ) -> Iterator[Page]:
        """A page (a file, or an address) in a window of a given size (CSS pixels), in light or dark colours."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self._listeners[session] = page.hear
        try:
            for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
                page.call(f"{domain}.enable")
            page.resize(width, height)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            page.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
            page.call("Emulation.setUserAgentOverride", userAgent=self._agent(), acceptLanguage=language)
            page.go(file.resolve().as_uri() if isinstance(file, Path) else file)
            yield page
        finally:
            self._listeners.pop(session, None)
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def _agent(self) -> str:
        agent: str = self.call("Browser.getVersion")["userAgent"]
        return agent

    def close(self) -> None:
        """End the process and forget its profile."""
        try:
            self.call("Browser.close")
            self._process.wait(timeout=20)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _message(self, until: float, what: str = "an answer") -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium: waited {_SECONDS:.0f} s for {what}")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise OSError("Chromium went away")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _event(self, message: dict[str, Any]) -> None:
        listener = self._listeners.get(message.get("sessionId", ""))
        if listener is not None and "method" in message:
            listener(message)


class Page:
    """An open page: ``complaints`` are errors and warnings of its console, ``requests`` all addresses it asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        return self._browser.call(method, self._session, **parameters)

    def hear(self, message: dict[str, Any]) -> None:
        """Take note of an event."""
        about = message["params"]
        match message["method"]:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if about["type"] in {"error", "warning", "assert"}:
                self.complaints.append(" ".join(str(item.get("value", item)) for item in about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(about["entry"]["text"])

    def go(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        self._browser.wait(lambda: self._loaded, f"{address} to load")

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, as plain data."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The visible texts of all elements that a selector names."""
        found: list[str] = self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e=>e.innerText.trim())"
        )
        return found

    def click(self, selector: str, nth: int = 0) -> None:
        """Click into the middle of an element, as a mouse does."""
        x, y = self.middle(selector, nth)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def move(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle(self, selector: str, nth: int = 0) -> tuple[float, float]:
        """Where the middle of an element is in the window, after it was scrolled into view."""
        x, y = self.value(
            f"(()=>{{const e=document.querySelectorAll({json.dumps(selector)})[{nth}];"
            "e.scrollIntoView({block:'center',inline:'center',behavior:'instant'});const b=e.getBoundingClientRect();"
            "return [b.x+b.width/2,b.y+b.height/2]})()"
        )
        return x, y

    def press(self, key: str, *, shift: bool = False, alt: bool = False) -> None:
        """Press and let go of one key: a letter, or a name such as Tab, Enter or ArrowLeft."""
        code, number, typed = _KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper()), key))
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift + alt}
        self.call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **about, text=typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def accessible(self) -> list[dict[str, Any]]:
        """What a screen reader is told: role, name and description of each element that is not ignored."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {name: node.get(name, {}).get("value", "") for name in ("role", "name", "description")}
            for node in nodes
            if not node.get("ignored")
        ]

    def screenshot(self, file: Path) -> None:
        """A PNG of the whole page, what lies below the window included."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        file.write_bytes(base64.b64decode(data))

    def assert_quiet(self, server: str = "") -> None:
        """The console is empty, and nothing but the file (or its server) and ``data:`` pictures was asked for."""
        self.value("new Promise(done=>setTimeout(done,50))")  # what is on its way arrives
        own = (server or "file:", "data:", "blob:")
        outside = [address for address in self.requests if not address.startswith(own)]
        files = {address.partition("#")[0] for address in self.requests if address.startswith("file:")}
        assert not self.complaints, f"the console says: {self.complaints}"
        assert not outside, f"asked the network for {outside}"
        assert len(files) == (0 if server else 1), f"asked for more files than the page: {files}"
