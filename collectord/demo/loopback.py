"""A server on a loopback port that can be taken away and come back, and raw access to its connections."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

HOST = "127.0.0.1"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Loopback:
    """An HTTP server whose port stays its own: stopped it refuses connections, started again it is where it was."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._runner: web.ServerRunner | None = None
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        """Serve HTTPS with it, from the next start on."""

    def put_before(self, wrap: Callable[[Handler], Handler]) -> None:
        """Let another handler stand before this one; takes effect at the next start."""
        self._handler = wrap(self._handler)

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen until the block ends; port 0 = any free one."""
        self.port = port
        await self.start()
        try:
            yield self.base_url
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listen (again)."""
        # Bodies stay as they came: what the client compressed is for us to judge.
        server = web.Server(self._handler, access_log=None, auto_decompress=False, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, HOST, self.port, reuse_address=True, ssl_context=self.tls).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections and cut those that are open; nothing happens when already stopped."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


class AlreadySent(web.Response):
    """What a handler returns when it wrote to the connection by itself: the HTTP library has nothing left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        del request
        self.force_close()

    async def write_eof(self, data: bytes | bytearray | memoryview | str = b"") -> None:
        """Nothing is owed any more."""


def cut(request: web.BaseRequest, *, reset: bool) -> None:
    """Close the client's connection: by FIN behind what was written, or at once by RST."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    connection: socket.socket = transport.get_extra_info("socket")
    # Lingering for zero seconds makes the kernel send RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
