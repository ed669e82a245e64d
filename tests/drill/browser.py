"""A real browser for the report: headless Chromium, driven by its DevTools protocol, that says what it complains of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_LIMIT = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """The browser's program; None where there is none that runs (Ubuntu has one that only names its successor)."""
    for program in filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.startswith(("Chromium ", "Google Chrome ")):
            return program
    return None


class Page:
    """One tab. `complaints` has what the console said, `asked` every address that was to be loaded."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._loaded = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []

    async def begin(self) -> None:
        made = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def open(
        self, address: str, *, width: int, height: int = 900, dark: bool = False, printed: bool = False
    ) -> None:
        """Show `address` in a window of that size, in CSS pixels; return once it has been loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._call("Emulation.setEmulatedMedia", media="print" if printed else "", features=[scheme])
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        before = self._loaded
        answer = await self._call("Page.navigate", url=address)
        assert "errorText" not in answer, answer
        async with asyncio.timeout(START_LIMIT):
            while self._loaded == before:
                self._heard(json.loads(await self._socket.receive_str()))

    async def evaluate(self, expression: str) -> Any:
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def screenshot(self, target: Path) -> None:
        """The whole page, not only the window."""
        await self._save(target, "Page.captureScreenshot", format="png", captureBeyondViewport=True)

    async def pdf(self, target: Path) -> None:
        """A4, as printed without a browser's own head and foot."""
        await self._save(target, "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)

    async def _save(self, target: Path, method: str, **parameters: object) -> None:
        answer = await self._call(method, **parameters)
        _keep(target, base64.b64decode(answer["data"]))

    async def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        asked: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        await self._socket.send_json(asked)
        async with asyncio.timeout(START_LIMIT):
            while True:
                said = json.loads(await self._socket.receive_str())
                if said.get("id") == number:
                    assert "error" not in said, (method, said["error"])
                    result: dict[str, Any] = said["result"]
                    return result
                self._heard(said)

    def _heard(self, message: dict[str, Any]) -> None:
        method, said = message.get("method", ""), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Network.requestWillBeSent":
            self.asked.append(said["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(f"{said['entry']['level']}: {said['entry']['text']}")
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(said))


@asynccontextmanager
async def page(program: str) -> AsyncIterator[Page]:
    """A tab of a browser of its own, which is gone at the end, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="browser-"))
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
        start_new_session=True,
    )
    try:
        port, path = await _address(folder / "DevToolsActivePort", process)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            tab = Page(socket)
            await tab.begin()
            yield tab
    finally:
        # Its children are of its process group, which is its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _address(file: Path, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The port and path that the browser writes down once it listens."""
    async with asyncio.timeout(START_LIMIT):
        while (lines := _lines(file)) is None:
            assert process.returncode is None, f"the browser ended with {process.returncode}"
            await asyncio.sleep(0.02)
    return lines


def _lines(file: Path) -> tuple[str, str] | None:
    lines = file.read_text().split() if file.exists() else []
    return (lines[0], lines[1]) if len(lines) > 1 else None


def _keep(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
