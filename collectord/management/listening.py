"""Opens the doors of the API: the Unix socket, guarded by its file mode, and TCP, guarded by the access key."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

from collectord import log
from collectord.errors import ConfigError, Fault
from collectord.management.bounds import KEEP_SECONDS, MAX_HEADER_BYTES, MAX_HEADERS, Bounds
from collectord.management.guard import Guard
from collectord.management.server import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from collectord.management.views import Plant
    from collectord.settings import ManagementSettings

SOCKET_MODE = 0o660
FILE = "collectord.yaml"


class Listeners:
    """What is listened on; a reload may change the part that is TCP."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._listen: str | None = None
        self._address: tuple[str, int] | None = None
        self._guard: Guard | None = None
        self._life = contextlib.AsyncExitStack()
        """Of the TCP listener."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where TCP is listened on, as the kernel says it; None: nowhere."""
        return self._address

    async def follow(self, settings: ManagementSettings) -> None:
        """Listen as these settings say; raises ConfigError and leaves everything as it is when that cannot be."""
        if settings.listen == self._listen:
            if self._guard is not None:
                self._guard.allow(settings)
            return
        guard, address, life = None, None, contextlib.AsyncExitStack()
        if settings.listen is not None:
            guard = Guard(settings)
            server = await life.enter_async_context(_serving(self._plant, guard, _tcp(settings.listen)))
            address = server.sockets[0].getsockname()[:2]
            log.get().info("management listens", address=f"{address[0]}:{address[1]}")
        await self.close()
        self._listen, self._address, self._guard, self._life = settings.listen, address, guard, life

    async def close(self) -> None:
        """Listen on TCP no more."""
        await self._life.aclose()


@contextlib.asynccontextmanager
async def serve(plant: Plant, socket: Path, settings: ManagementSettings) -> AsyncIterator[Listeners]:
    """Serve while the context lasts; all doors are open when it begins. Raises ConfigError when one cannot be."""
    listeners = Listeners(plant)
    async with _serving(plant, None, _unix(socket)):
        try:
            await listeners.follow(settings)
            yield listeners
        finally:
            await listeners.close()
            await anyio.Path(socket).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _serving(
    plant: Plant, guard: Guard | None, listen: Callable[[Callable[[], asyncio.Protocol]], Awaitable[asyncio.Server]]
) -> AsyncIterator[asyncio.Server]:
    bounds = Bounds()
    runner = web.AppRunner(
        application(plant, bounds, guard),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=1.0,
        keepalive_timeout=KEEP_SECONDS,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
        auto_decompress=False,  # a small body could become a large one
    )
    await runner.setup()
    try:
        assert runner.server is not None  # made by setup
        server = await listen(bounds.protocols(runner.server))
        try:
            yield server
        finally:
            server.close()
    finally:
        await runner.cleanup()


def _tcp(address: str) -> Callable[[Callable[[], asyncio.Protocol]], Awaitable[asyncio.Server]]:
    host, _, port = address.rpartition(":")

    async def listen(protocols: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        try:
            return await asyncio.get_running_loop().create_server(protocols, host.strip("[]"), int(port))
        except OSError as error:
            reason = f"{address} cannot be listened on: {error.strerror or error}"
            raise ConfigError([Fault(FILE, "management.listen", reason)]) from None

    return listen


def _unix(socket: Path) -> Callable[[Callable[[], asyncio.Protocol]], Awaitable[asyncio.Server]]:
    async def listen(protocols: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        path = anyio.Path(socket)
        try:
            await path.unlink(missing_ok=True)
            server = await asyncio.get_running_loop().create_unix_server(protocols, str(socket))
            await path.chmod(SOCKET_MODE)
        except OSError as error:
            reason = f"the socket {socket} cannot be made: {error.strerror or error}"
            raise ConfigError([Fault(FILE, "management.socket", reason)]) from None
        return server

    return listen
