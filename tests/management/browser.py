"""Headless Chromium by its DevTools protocol: no driver, and everything that it asks of the network is seen."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0")
_QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
_TEXTS = {"Enter": "\r", " ": " "}


class Tab:
    """One page: what it shows, what it asked for, and what it complained about."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requested: list[str] = []
        """URLs, in order."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, exceptions, violations of the CSP."""
        self.answered: list[tuple[str, int]] = []
        """URLs and the statuses of their answers, those that no script may see as well."""
        self._urls: dict[str, str] = {}
        self._socket = socket
        self._session = ""
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def open(self) -> None:
        """Open the tab."""
        context = await self.call("Target.createBrowserContext", disposeOnDetach=True)
        target = await self.call("Target.createTarget", url="about:blank", **context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def call(self, method: str, **params: Any) -> Any:
        """What the browser answers."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        with anyio.fail_after(15):
            return await answer

    async def listen(self) -> None:
        """Take what the browser says, until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if answer.cancelled():
                    continue
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    answer.set_result(said["result"])
            else:
                self._note(said["method"], said["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
            self._urls[params["requestId"]] = params["request"]["url"]
        elif method == "Network.responseReceivedExtraInfo":
            self.answered.append((self._urls.get(params["requestId"], ""), params["statusCode"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(json.dumps(params["args"])[:500])

    async def see(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        got = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    async def until(self, script: str, seconds: float = 10.0) -> Any:
        """What the expression says once it is true."""
        with anyio.fail_after(seconds):
            while not (value := await self.see(script)):
                await anyio.sleep(0.02)
        return value

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key as a user does."""
        code = _KEYS.get(key) or ord(key.upper())
        text = _TEXTS.get(key, key if len(key) == 1 else "")
        same = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    async def click(self, selector: str) -> None:
        """Click in the middle of an element, wherever it is."""
        place = await self.until(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); if (!node) return null;"
            " node.scrollIntoView({block: 'center'}); const at = node.getBoundingClientRect();"
            " return at.width ? {x: at.x + at.width / 2, y: at.y + at.height / 2} : null })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def resize(self, width: int, height: int, *, scale: float = 1.0) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    async def prefer(self, theme: str) -> None:
        """Have the system prefer `light` or `dark`, and no motion."""
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def shoot(self, path: Path) -> None:
        """Write a PNG of what can be seen."""
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[str]:
    """A browser with an empty profile; gives the URL of its DevTools."""
    assert EXECUTABLE is not None  # whoever calls has looked
    command = [EXECUTABLE, *_FLAGS, *_QUIET, *flags, f"--user-data-dir={profile}"]
    environment = os.environ | {"HOME": str(profile), "XDG_CONFIG_HOME": str(profile)}
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        port = profile / "DevToolsActivePort"
        until = time.monotonic() + 30
        while not port.exists() or "\n" not in port.read_text():
            assert time.monotonic() < until, (profile / "chromium.log").read_text()
            assert process.poll() is None, (profile / "chromium.log").read_text()
            time.sleep(0.02)
        number, path = port.read_text().split("\n")[:2]
        yield f"ws://127.0.0.1:{number}{path}"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def tab(devtools: str) -> AsyncIterator[Tab]:
    """An open page that shares no cookie, no password and no storage with any other."""
    async with aiohttp.ClientSession() as session, session.ws_connect(devtools, max_msg_size=2**27) as socket:
        page = Tab(socket)
        listening = asyncio.create_task(page.listen())
        try:
            await page.open()
            yield page
        finally:
            listening.cancel()
            await asyncio.wait([listening])
