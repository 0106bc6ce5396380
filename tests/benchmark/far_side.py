"""What stands at both ends of a subject: a vendor's simulator with rendered pages, and a sink that keeps bodies unread.

Both live in the benchmark's own process, off the subject's core, so that the first request and the last batch are known
to the moment, and no time goes into reading records while the clock runs: they are counted afterwards.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from aiohttp import web
from isal import igzip

from collectord.demo.loopback import Handler, Loopback
from tests.benchmark.vendors import Load, Vendor


class FarSide:
    """Tenants, each known by its token, that all have the same records; and the sink."""

    def __init__(self, vendor: Vendor, tokens: Sequence[str], load: Load, *, latency: float = 0.0) -> None:
        self.on_first_request: Callable[[], None] = lambda: None
        self.last_arrival_at = 0.0
        self.source_url = self.sink_url = ""
        self._latency = latency
        self._bodies: list[bytes] = []
        self._requests = 0
        self._moved_at = 0.0
        self._ids = vendor.ids
        self._simulator = vendor.simulator(tokens, load)
        self._simulator.put_before(self._counted)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with self._simulator.serve() as self.source_url, Loopback(self._keep).serve() as self.sink_url:
            yield

    def begin(self, on_first_request: Callable[[], None]) -> None:
        """Forget the last run."""
        self.on_first_request = on_first_request
        self._requests = 0
        self._bodies.clear()
        self._simulator.violations.clear()

    def is_quiet(self, seconds: float) -> bool:
        """Whether something came, and then nothing for so long."""
        return self._requests > 0 and time.perf_counter() - self._moved_at > seconds

    def count(self) -> tuple[int, int]:
        """How many records the sink has, and how many different ids."""
        records, ids = 0, set()
        for body in self._bodies:
            lines = igzip.decompress(body)
            records += lines.count(b"\n")
            ids.update(self._ids.findall(lines))
        return records, len(ids)

    @property
    def violations(self) -> list[str]:
        return self._simulator.violations

    def _counted(self, handler: Handler) -> Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if not self._requests:
                self.on_first_request()
            self._requests += 1
            self._moved_at = time.perf_counter()
            await anyio.sleep(self._latency)
            return await handler(request)

        return handle

    async def _keep(self, request: web.BaseRequest) -> web.StreamResponse:
        self._bodies.append(await request.content.read())
        self._moved_at = self.last_arrival_at = time.perf_counter()
        await anyio.sleep(self._latency)
        return web.Response()
