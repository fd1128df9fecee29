"""A real headless Chromium, driven over a pipe by the DevTools protocol: what a page shows, says and asks for."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
)
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
SECONDS = 120.0

Message = dict[str, Any]


def binary() -> str:
    """The browser's program. Raises RuntimeError with the mend if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise RuntimeError("no Chromium here; install it with `make setup-tests` (Debian: apt-get install chromium)")


@dataclass
class Seen:
    """What opening a page led to."""

    console: list[str] = field(default_factory=list)
    """messages, warnings and errors, the browser's own about the page among them"""
    hosts: set[str] = field(default_factory=set)
    """hosts that the page asked over a network; its own file and `data:` are none"""


class Browser:
    """One browser with one page. A context manager; every wait has a deadline."""

    def __init__(self, profile: Path) -> None:
        commands, answers = os.pipe(), os.pipe()
        # The protocol speaks on descriptors 3 and 4, which a shell puts there from descriptors out of their way.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands[0], answers[1])]
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", binary(), *FLAGS.split(), OFFLINE]
        self._process = subprocess.Popen(
            [*shell, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=theirs, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (*theirs, commands[0], answers[1]):
            os.close(descriptor)
        self._write, self._read = commands[1], answers[0]
        self._buffer, self._events, self._number, self._session = b"", deque[Message](), 0, ""
        self._attach()

    def _attach(self) -> None:
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> Seen:
        """Open a file in a window of this size, wait until it has loaded, and tell what it said and asked for."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self._call("Page.navigate", url=path.as_uri())
        seen, until = Seen(), time.monotonic() + SECONDS
        while True:
            event = self._events.popleft() if self._events else self._receive(until)
            _note(event, seen)
            if event.get("method") == "Page.loadEventFired":
                break
        self.ask("1")  # the page's task queue has run: what it had to say is here
        for event in self._events:
            _note(event, seen)
        return seen

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, as JSON would carry it; promises are waited for."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._call("Browser.close", session=False)
        for descriptor in (self._write, self._read):
            os.close(descriptor)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, method: str, session: bool = True, **parameters: Any) -> Message:
        self._number += 1
        message: Message = {"id": self._number, "method": method, "params": parameters}
        if session and self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self._receive(until)
            if answer.get("id") != self._number:
                self._events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return dict(answer["result"])

    def _receive(self, until: float) -> Message:
        """The next message. Raises TimeoutError at `until`, ConnectionError if the browser is gone."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {SECONDS:.0f} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise ConnectionError(f"the browser ended (exit code {self._process.poll()})")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))


def _note(event: Message, seen: Seen) -> None:
    parameters = event.get("params", {})
    if event.get("method") == "Network.requestWillBeSent":
        url = urlsplit(parameters["request"]["url"])
        if url.scheme not in ("file", "data", "about"):
            seen.hosts.add(url.hostname or url.scheme)
    elif event.get("method") == "Log.entryAdded":
        seen.console.append(parameters["entry"]["text"])
    elif event.get("method") == "Runtime.consoleAPICalled":
        seen.console.append(" ".join(str(a.get("value", a)) for a in parameters["args"]))
    elif event.get("method") == "Runtime.exceptionThrown":
        seen.console.append(parameters["exceptionDetails"]["text"])
