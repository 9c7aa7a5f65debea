"""A real browser without a driver: chromium, spoken to by its DevTools protocol over two pipes (no port, no package)."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0
"""For one answer; a second is usual, and a machine may be busy."""


LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""chromium reads its commands from file descriptor 3 and answers on 4."""


class Browser:
    """One process with one page at a time. `problems` holds what the console, the page's errors and its policy told, and every
    address asked for that is no file and no data."""

    def __init__(self, chromium: str, folder: Path) -> None:
        ours_in, theirs_out = _pipe()
        theirs_in, ours_out = _pipe()
        command = [
            sys.executable, "-c", LAUNCHER, str(theirs_in), str(theirs_out), chromium, "--headless=new", "--no-sandbox",
            "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--force-color-profile=srgb",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
            f"--user-data-dir={folder}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out, self._rest = ours_in, ours_out, b""
        self._numbers, self._session, self._target = itertools.count(1), "", ""
        self.problems: list[str] = []
        self.dialogs: list[str] = []

    def new_page(self) -> None:
        """Closes the page and opens another, of 1280 x 900 pixels."""
        self._session, before = "", self._target
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        if before:
            self.call("Target.closeTarget", targetId=before)
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(1280, 900)
        self.problems.clear()
        self.dialogs.clear()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self._take(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            assert data, "chromium does not answer"
            self._rest += data
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def _take(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif event["method"] == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(params["args"]))
        elif event["method"] == "Log.entryAdded":
            self.problems.append(params["entry"]["text"])
        elif event["method"] == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
        elif event["method"] == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("file:", "data:")):
                self.problems.append(f"asked for {address}")

    def open(self, page: Path) -> None:
        """Loads a file and waits until it has loaded."""
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def js(self, expression: str) -> Any:
        """The value of an expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.js(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)

    def told(self, what: str) -> None:
        """Until one of the `problems` holds `what`; they come on their own time, and are heard while something is asked."""
        deadline = time.monotonic() + TIMEOUT_S
        while not any(what in problem for problem in self.problems):
            assert time.monotonic() < deadline, self.problems
            self.js("0")
            time.sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        found: list[str] = self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")
        return found

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first element."""
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """A key of the keyboard, by its name in DOM events."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Escape": 27}.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def look(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """A picture of the window."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.size(width, height)
        time.sleep(0.3)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def size(self, width: int, height: int) -> None:
        """Of the window, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        """Ends the process that this object started."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not the descriptors 3 and 4, which the launcher gives away."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def find_chromium() -> str | None:
    """Where it is; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
