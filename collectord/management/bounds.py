"""How much a caller may take: connections, time to say what it wants, bytes of a body.

aiohttp waits for the first request of a connection as long as it takes; half a request would hold one for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import anyio
from aiohttp import web

from collectord.management.guard import SAFE_METHODS
from collectord.management.problems import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_CONNECTIONS = 128
MAX_BODY_BYTES = 2**20
MAX_HEADER_BYTES = 8190
"""Of one line."""
MAX_HEADERS = 64
REQUEST_SECONDS = 10.0
"""From connecting to the end of the headers, and again to the end of the body."""
KEEP_SECONDS = 30.0
"""From an answer's beginning to the end of the next request's headers."""
FORM_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}


class Bounds:
    """The connections of one listener."""

    def __init__(self) -> None:
        self._timers: dict[object, asyncio.TimerHandle | None] = {}
        """By aiohttp's protocol of the connection; None while it is being answered."""

    def protocols(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What `loop.create_server` is to call for each connection."""
        return lambda: _Connection(server(), self)

    def opened(self, inner: web.RequestHandler, transport: asyncio.Transport) -> bool:
        """Note a connection; returns whether there is room for it."""
        if len(self._timers) >= MAX_CONNECTIONS:
            return False
        self._timers[inner] = asyncio.get_running_loop().call_later(REQUEST_SECONDS, transport.abort)
        return True

    def closed(self, inner: web.RequestHandler) -> None:
        """Forget a connection."""
        timer = self._timers.pop(inner, None)
        if timer is not None:
            timer.cancel()

    @web.middleware
    async def watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Take as long as it takes to answer, and wait no longer than that for the next request."""
        inner, transport = request.protocol, request.transport
        self._restart(inner, None)
        try:
            return await handler(request)
        finally:
            if inner in self._timers and transport is not None:
                self._restart(inner, asyncio.get_running_loop().call_later(KEEP_SECONDS, transport.abort))

    def _restart(self, inner: object, timer: asyncio.TimerHandle | None) -> None:
        before = self._timers.get(inner)
        if before is not None:
            before.cancel()
        self._timers[inner] = timer


class _Connection(asyncio.Protocol):
    """Hands everything on to aiohttp's protocol, once there is room for the connection."""

    def __init__(self, inner: web.RequestHandler, bounds: Bounds) -> None:
        self._inner = inner
        self._bounds = bounds
        self._admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        self._admitted = self._bounds.opened(self._inner, stream)
        if self._admitted:
            self._inner.connection_made(stream)
        else:
            stream.abort()

    def data_received(self, data: bytes) -> None:
        if self._admitted:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._admitted else None  # type: ignore[func-returns-value]  # asyncio's contract

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._admitted:
            self._bounds.closed(self._inner)
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


@web.middleware
async def read_body(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Have the whole body, within bounds, before anything is done; what changes something takes JSON alone."""
    try:
        with anyio.fail_after(REQUEST_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {REQUEST_SECONDS:g} s") from None
    # What is empty needs no type; but a type that a foreign page's form may have without asking is one of a form.
    wrong = request.content_type != "application/json" if body else request.content_type in FORM_TYPES
    if request.method not in SAFE_METHODS and wrong:
        raise ApiError(415, "the body must be JSON: Content-Type: application/json")
    return await handler(request)
