"""A Chromium that tests drive: keys are typed, sizes and schemes set, and what it sent and complained of is read.

It is driven by the DevTools protocol over two pipes, so that no port is open and no library is needed. Knows no page.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
Json: TypeAlias = Any
Scheme = Literal["light", "dark"]
BASH = "/bin/bash"
SECONDS = 120.0
"""Longest wait for one answer of the browser."""

KEYS = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "Home": (36, ""),
    "End": (35, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
    " ": (32, " "),
}
"""Windows' codes of keys, and the text that each writes."""

UNTIL = """new Promise((done, fail) => {
  const began = performance.now();
  const look = () => {
    if (CONDITION) done(true);
    else if (performance.now() - began > 90000) fail(new Error("never: " + DESCRIPTION));
    else setTimeout(look, 10);
  };
  look();
})"""


@final
class Tab:
    """One page. events: what the browser told of it, in order."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self.events: list[Json] = wire.events
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Json) -> Json:
        """Call a method of the protocol."""
        return self._wire.call(method, params)

    def show(self, width: int, height: int, *, scheme: Scheme = "light") -> None:
        """Set the size of the window, and what the reader prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Go to an address, and wait until its document has been loaded."""
        self.send("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def value(self, script: str) -> Json:
        """What an expression comes to; a promise is waited for."""
        reply = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return reply["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait for a condition of the page."""
        self.value(UNTIL.replace("CONDITION", condition).replace("DESCRIPTION", json.dumps(condition)))

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, and let it go."""
        code, text = KEYS[key]
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **pressed, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.send("Input.insertText", text=text)

    def point(self, x: float, y: float) -> None:
        """Move the pointer to a place."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as a PNG. whole: the whole page, below the window's edge too."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def sent(self, path: str) -> list[Json]:
        """The requests to a path so far: `method`, `headers`, `postData`."""
        requests = [one["params"]["request"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [one for one in requests if one["url"].split("?")[0].endswith(path)]

    @property
    def complaints(self) -> list[str]:
        """Errors that scripts threw, that the console has, or that the page's policy told of."""
        said = []
        for one in self.events:
            params = one["params"]
            if one["method"] == "Runtime.exceptionThrown":
                said.append(str(params["exceptionDetails"]))
            elif one["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                said.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif one["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
                said.append(str(params["args"]))
        return said


@final
class _Wire:
    """The protocol's messages over two pipes, each ended by a zero byte."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._rest = b""
        self._count = 0
        self.session: str | None = None
        self.events: list[Json] = []

    def call(self, method: str, params: Json) -> Json:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        _write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._count:
                assert "error" not in reply, f"{method}: {reply}"
                return reply["result"]
            if "method" in reply:
                self.events.append(reply)

    def _next(self) -> Json:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            more = os.read(self._reads, 2**20)
            assert more, "the browser has ended"
            self._rest += more
        one, _, self._rest = self._rest.partition(b"\0")
        return json.loads(one)


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """A browser with an empty profile, and a page in it; it ends with the block."""
    to_browser, from_browser = os.pipe(), os.pipe()
    flags = (*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank")
    pipes = (to_browser[0], from_browser[1])
    # The browser reads from descriptor 3 and writes to descriptor 4; bash sees to that.
    command = [BASH, "-c", f'exec "$0" "$@" 3<&{pipes[0]} 4>&{pipes[1]}', BROWSER, *flags]
    try:
        process = subprocess.Popen(command, pass_fds=pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        for pipe in pipes:
            os.close(pipe)
    wire = _Wire(from_browser[0], to_browser[1])
    try:
        target = wire.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        wire.session = wire.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        yield Tab(wire)
        wire.session = None
        wire.call("Browser.close", {})
        process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(to_browser[1])
        os.close(from_browser[0])
