"""The Collection page: what it costs the daemon while a real browser has it open, and how soon it answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from pathlib import Path
from statistics import median

import anyio
from aiohttp import web

from tests.benchmark.configuration import write
from tests.benchmark.idle_floor import address
from tests.benchmark.subjects import Ended, Subject, running
from tests.benchmark.vendors import VENDORS
from tests.management.browser import EXECUTABLE, Tab, browser, tab

KEY = "a-key-of-the-benchmark"
WINDOW_SECONDS = 60.0
ROWS = "document.querySelectorAll('#sources tr').length"
ASKING = """
(async () => {
  const began = performance.now();
  const answer = await fetch(location.origin + "/api/v1/status", { cache: "no-store" });
  const size = (await answer.text()).length;
  return [performance.now() - began, size];
})()
"""


class FarSide:
    """An Okta with one new event at every poll and then no more, at every loopback address at once; and a sink."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        """When each address had its last event."""
        self._numbers = count()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port."""
        app = web.Application()
        app.router.add_get("/api/v1/logs", self._logs)
        app.router.add_post("/", self._take)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0)
        await runner.setup()
        try:
            assert runner.server is not None
            server = await asyncio.get_running_loop().create_server(runner.server, "0.0.0.0", 0, backlog=4096)
            yield server.sockets[0].getsockname()[1]
            server.close()
        finally:
            await runner.cleanup()

    async def _logs(self, request: web.Request) -> web.Response:
        number, now = next(self._numbers), time.time()
        is_new = now - self.told.get(request.host, 0) > 1
        if is_new:
            self.told[request.host] = now
        event = {"uuid": f"u{number}", "eventType": "user.session.start"}
        event["published"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now))
        headers = {
            "X-Rate-Limit-Limit": "60",
            "X-Rate-Limit-Remaining": "59",
            "X-Rate-Limit-Reset": str(int(now) + 60),
            "Date": formatdate(now, usegmt=True),
            "Link": f'<http://{request.host}/api/v1/logs?limit=1000&after={number}_1>; rel="next"',
        }
        return web.json_response([event] if is_new else [], headers=headers)

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response()


@dataclass(frozen=True)
class Cost:
    """What was measured."""

    sources: int
    rows_seconds: float
    """From the address typed in to the last row."""
    answer_ms: float
    answer_bytes: int
    closed_percent: float
    """Of a core, without the page."""
    open_percent: float
    """With it."""
    asked: int
    """So often the page asked for the status in that time."""

    @property
    def page_percent(self) -> float:
        """Of a core, that of the page alone."""
        return self.open_percent - self.closed_percent

    def __str__(self) -> str:
        return (
            f"{self.sources:,} sources: all rows after {self.rows_seconds:.2f} s; the status answers in"
            f" {self.answer_ms:.0f} ms with {self.answer_bytes / 1000:,.0f} kB\n"
            f"daemon, % of a core: {self.closed_percent:.2f} closed, {self.open_percent:.2f} open,"
            f" {self.page_percent:.2f} for the page, which asked {self.asked} times"
        )


async def measure(options: argparse.Namespace, core: set[int], scratch: Path) -> Cost:
    """Run collectord alone on `core`, without and with the page; raises Ended."""
    if EXECUTABLE is None:
        raise Ended("chromium is not installed: apt install chromium")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    far_side, seconds = FarSide(), min(options.interval, WINDOW_SECONDS)
    async with far_side.serve() as port:
        file, listen = _configured(options, scratch / "page", port)
        profile = scratch / "chromium"
        profile.mkdir()
        words = ["-m", "collectord", "run", "--config", str(file)]
        with running(words, core, scratch) as ours, browser(profile) as devtools:
            while len(far_side.told) < options.page:  # the first poll is not like the others
                ours.check()
                await anyio.sleep(0.1)
            closed = await _percent(ours, seconds)
            async with tab(devtools) as page:
                rows_seconds = await _open(page, listen, options.page)
                asked = _asked(page)
                opened = await _percent(ours, seconds)
                asked = _asked(page) - asked
                times, sizes = zip(*[await page.see(ASKING) for _ in range(9)], strict=True)
    return Cost(options.page, rows_seconds, median(times), int(median(sizes)), closed, opened, asked)


def _configured(options: argparse.Namespace, folder: Path, port: int) -> tuple[Path, str]:
    sources = [("00token", f"http://{address(number)}:{port}") for number in range(options.page)]
    intervals = {"events": options.interval}
    file = write(folder, f"http://127.0.0.1:{port}/", VENDORS["okta"], sources, intervals=intervals)
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    tree = json.loads(file.read_text(encoding="utf-8")) | {"management": {"listen": listen, "access_key": KEY}}
    file.write_text(json.dumps(tree), encoding="utf-8")
    return file, listen


async def _open(page: Tab, listen: str, sources: int) -> float:
    began = time.perf_counter()
    await page.call("Page.navigate", url=f"http://admin:{KEY}@{listen}/")
    await page.until(f"{ROWS} === {sources}", 30)
    return time.perf_counter() - began


async def _percent(subject: Subject, seconds: float) -> float:
    began, cpu = time.perf_counter(), subject.cpu_seconds()
    await anyio.sleep(seconds)
    subject.check()
    return 100 * (subject.cpu_seconds() - cpu) / (time.perf_counter() - began)


def _asked(page: Tab) -> int:
    return sum(url.endswith("/api/v1/status") for url in page.requested)
