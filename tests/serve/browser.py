"""A headless Chromium, driven over its own debugging protocol: enough to see a page as a person would."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=1240,1150",
)
PATIENCE_S = 30.0


class Browser:
    """One tab. `complaints` collects errors, blocked resources and unhandled exceptions of the page."""

    def __init__(self, folder: Path) -> None:
        program = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        if program is None:
            pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._number = 0
        self._process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(connect(self._find_tab(folder), max_size=None))
        except BaseException:
            self.close()
            raise
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._open.close()
        self._process.kill()
        self._process.wait()

    def open(self, url: str, *, dark: bool = False) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=url)
        self.wait_for("location.href != 'about:blank' && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Until the expression is true."""
        end_s = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < end_s, f"{script} never became true; the page says: {self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """What is visible, as text."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def picture(self, path: Path) -> None:
        reply = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(reply["data"]))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])

    def _find_tab(self, folder: Path) -> str:
        port_file, end_s = folder / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if port_file.exists() and "\n" in port_file.read_text():
                port = int(port_file.read_text().split("\n")[0])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as reply:
                    for tab in json.load(reply):
                        if tab["type"] == "page":
                            return str(tab["webSocketDebuggerUrl"])
            time.sleep(0.05)
        raise AssertionError("Chromium did not start in time")
