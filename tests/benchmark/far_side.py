"""What stands at both ends of a subject: Okta tenants with a rendered log, and a sink that keeps bodies unread.

Both live in the benchmark's own process, off the subject's core, so that the first request and the last batch are known
to the moment, and no time goes into reading records while the clock runs: they are counted afterwards.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from aiohttp import web
from isal import igzip

from collectord.demo.loopback import Handler, Loopback
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs

PAGE_SIZE = 1000
_UUID = re.compile(rb'"uuid":"([0-9a-f-]{36})"')


class FarSide:
    """Tenants, each known by its token, that all have the same log; and the sink."""

    def __init__(self, tokens: Sequence[str], records: int, *, latency: float = 0.0, gzip: bool = False) -> None:
        self.on_first_request: Callable[[], None] = lambda: None
        self.last_arrival_at = 0.0
        self.source_url = self.sink_url = ""
        self._latency = latency
        self._bodies: list[bytes] = []
        self._requests = 0
        self._moved_at = 0.0
        knobs = OktaKnobs(gzip=gzip, org_limits=None, keep_issued=False, max_in_flight=2 * len(tokens))
        self._okta = OktaSimulator(tokens[0], knobs)
        for token in tokens:
            self._okta.accept_credential(token)
        self._okta.prerender(records, PAGE_SIZE)
        self._okta.put_before(self._counted)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with self._okta.serve() as self.source_url, Loopback(self._keep).serve() as self.sink_url:
            yield

    def begin(self, on_first_request: Callable[[], None]) -> None:
        """Forget the last run."""
        self.on_first_request = on_first_request
        self._requests = 0
        self._bodies.clear()
        self._okta.violations.clear()

    def is_quiet(self, seconds: float) -> bool:
        """Whether something came, and then nothing for so long."""
        return self._requests > 0 and time.perf_counter() - self._moved_at > seconds

    def count(self) -> tuple[int, int]:
        """How many records the sink has, and how many different ids."""
        records, ids = 0, set()
        for body in self._bodies:
            lines = igzip.decompress(body)
            records += lines.count(b"\n")
            ids.update(_UUID.findall(lines))
        return records, len(ids)

    @property
    def violations(self) -> list[str]:
        return self._okta.violations

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
