"""A headless Chromium that a test drives as a person does: by keys and by the pointer.

It is spoken to through pipes, by the DevTools protocol, so that nothing is installed for
it and no port is open.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
_PATIENCE_S = 60
# What keys are called by: code, and the number that old programs know them by.
_KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}
_TEXT = {"Enter": "\r"}  # of keys that write something
_MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}


class Page:
    """A page in it.

    Attributes:
      errors: What its scripts threw, and what its policy did not let it load.
      asked: The addresses that it asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._unread, self._number = b"", 0
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Returns what a command of the protocol answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]
            self._note(said)

    def open(self, address: str, *, width: int = 1400, height: int = 1000) -> None:
        """Goes to an address."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)
        self.call("Page.navigate", url=address)
        self.wait(
            "document.readyState === 'complete' && location.href !== 'about:blank'"
        )

    def value(self, script: str) -> Any:
        """Returns what JavaScript comes to, once it is there."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, patience_s: float = _PATIENCE_S) -> Any:
        """Returns what JavaScript comes to, once it is something."""
        end = time.monotonic() + patience_s
        while not (found := self.value(script)):
            assert time.monotonic() < end, f"never: {script}; {self.errors}"
            time.sleep(0.02)
        return found

    def press(self, *keys: str, times: int = 1) -> None:
        """Presses keys, such as "Tab", "a" or "Shift+ArrowUp"."""
        for key in keys * times:
            *held, name = key.split("+") if len(key) > 1 else (key,)
            event: dict[str, Any] = {
                "key": name,
                "code": name if name in _KEYS else f"Key{name.upper()}",
                "windowsVirtualKeyCode": _KEYS.get(name, ord(name[0].upper())),
                "modifiers": sum(_MODIFIERS[one] for one in held),
            }
            text = _TEXT.get(name, name if len(name) == 1 else "")
            if text and not event["modifiers"]:
                event["text"] = text
            self.call("Input.dispatchKeyEvent", type="keyDown", **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def pointer(self, kind: str, x: float, y: float) -> None:
        """Lets the mouse be "Pressed", "Moved" (pressed) or "Released" at a place."""
        self.call(
            "Input.dispatchMouseEvent",
            type=f"mouse{kind}",
            x=x,
            y=y,
            button="left",
            buttons=1,
            clickCount=1,
        )

    def choose(self, selector: str, *files: Path) -> None:
        """Puts files into a field, as the dialogue of the system does."""
        found = self.call(
            "Runtime.evaluate", expression=f"document.querySelector('{selector}')"
        )
        self.call(
            "DOM.setFileInputFiles",
            files=[str(file) for file in files],
            objectId=found["result"]["objectId"],
        )

    def picture(self, *, full: bool = True) -> bytes:
        """Returns a PNG of all of the page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        return base64.b64decode(shot["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            piece = os.read(self._from, 2**20)
            assert piece, "Chromium has ended"
            self._unread += piece
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def _note(self, said: dict[str, Any]) -> None:
        method, values = said.get("method"), said.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", "?"))
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(values["request"]["url"])


def _moved(end: int) -> int:
    """Returns a descriptor above 9 of the same, in place of it."""
    moved = fcntl.fcntl(end, fcntl.F_DUPFD, 10)
    os.close(end)
    return moved


@contextlib.contextmanager
def started() -> Iterator[Page]:
    """Yields an empty page of a browser that ends with it."""
    (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
    # Chromium reads from descriptor 3 and writes to 4, which these may be by chance.
    its_in, its_out = (_moved(end) for end in (its_in, its_out))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        placed = (
            f"import os, sys; os.dup2({its_in}, 3); os.dup2({its_out}, 4);"
            " os.execv(sys.argv[1], sys.argv[1:])"
        )
        process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-c", placed),
                *(str(BROWSER), "--headless", "--no-sandbox"),
                *("--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"),
                *("--no-first-run", f"--user-data-dir={profile}"),
            ],
            pass_fds=(its_in, its_out),
            stderr=subprocess.DEVNULL,
        )
        try:
            os.close(its_in)
            os.close(its_out)
            yield Page(our_out, our_in)
        finally:
            os.close(our_out)
            os.close(our_in)
            process.terminate()
            process.wait(timeout=_PATIENCE_S)
