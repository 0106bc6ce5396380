"""Idle sources: what it costs to ask each of many vendors now and then and hear nothing, against the floor."""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import cast

import anyio

from tests.benchmark.configuration import write
from tests.benchmark.idle_floor import address
from tests.benchmark.report import Row, table
from tests.benchmark.subjects import running
from tests.benchmark.vendors import VENDORS

_HOST = re.compile(rb"\r\nHost: ([^\r]+)", re.IGNORECASE)


class Vendor:
    """An Okta whose log is always at its end, at every loopback address at once."""

    def __init__(self) -> None:
        self.polls = {True: 0, False: 0}
        """Of collectord, and of others."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self.polls), "0.0.0.0", 0, backlog=4096)
        async with server:
            yield server.sockets[0].getsockname()[1]


class _Connection(asyncio.Protocol):
    def __init__(self, polls: dict[bool, int]) -> None:
        self._polls = polls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n"), "a request comes in one piece"
        self._polls[b"\r\nUser-Agent: collectord/" in data] += 1
        host = _HOST.findall(data)[0]
        target = data.split(b" ", 2)[1].split(b"&after=")[0]
        now = time.time()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nDate: %b\r\n"
            b"X-Rate-Limit-Limit: 60\r\nX-Rate-Limit-Remaining: 59\r\nX-Rate-Limit-Reset: %d\r\n"
            b'Link: <http://%b%b&after=1_1>; rel="next"\r\n\r\n[]'
            % (formatdate(now, usegmt=True).encode(), now + 60, host, target)
        )


@dataclass(frozen=True)
class Window:
    """What one program did in one interval, and what it held at the end."""

    polls: int
    cpu_seconds: float
    wall_seconds: float
    resident_mib: float
    peak_mib: float

    @property
    def share(self) -> float:
        """Per cent of a core."""
        return 100 * self.cpu_seconds / self.wall_seconds

    @property
    def poll_ms(self) -> float:
        return 1000 * self.cpu_seconds / self.polls


_ROWS: Sequence[Row[Window]] = (
    ("polls", lambda window: window.polls, 0),
    ("share of a core, %", lambda window: window.share, 2),
    ("CPU of a poll, ms", lambda window: window.poll_ms, 3),
    ("RSS, MiB", lambda window: window.resident_mib, 0),
    ("peak RSS, MiB", lambda window: window.peak_mib, 0),
)


async def measure(options: argparse.Namespace, core: set[int], scratch: Path) -> str:
    """Run both programs side by side, since both hardly run; returns a table."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    vendor = Vendor()
    async with vendor.serve() as port:
        sources = [("00token", f"http://{address(number)}:{port}") for number in range(options.idle)]
        file = write(
            scratch / "idle", "http://127.0.0.1:9", VENDORS["okta"], sources, intervals={"events": options.interval}
        )
        numbers = [str(number) for number in (port, options.idle, options.interval)]
        with (
            running(["-m", "collectord", "run", "--config", str(file)], core, scratch) as ours,
            running(["tests/benchmark/idle_floor.py", *numbers], core, scratch) as floor,
        ):
            while min(vendor.polls.values()) < options.idle:  # the first poll is not like the others
                ours.check()
                floor.check()
                await anyio.sleep(0.1)
            began = time.perf_counter()
            before = [(vendor.polls[subject is ours], subject.cpu_seconds()) for subject in (ours, floor)]
            await anyio.sleep(options.interval)
            wall = time.perf_counter() - began
            windows = [
                Window(
                    vendor.polls[subject is ours] - polls,
                    subject.cpu_seconds() - cpu,
                    wall,
                    subject.resident_mib(),
                    subject.peak_mib(),
                )
                for subject, (polls, cpu) in zip((ours, floor), before, strict=True)
            ]
    return table(_ROWS, {"collectord": windows[:1], "floor": windows[1:]})
