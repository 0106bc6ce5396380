"""What all tests share: aioresponses made to work, and the clock.

`@pytest.mark.looptime` gives a test a fake clock: its event loop jumps to the next timer instead of waiting, so an
hour's back-off takes no time, and `looptime` (a fixture: seconds from the test's start) says what the clock shows.
Sockets, threads and files work as usual; while a thread works, time is real. It is the loop's clock alone:
`time.monotonic()` goes on as ever.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aioresponses.core
import anyio
import pytest
from aiohttp import ClientResponse, StreamReader
from aiohttp.client_proto import ResponseHandler
from anyio import to_thread


class _Response(ClientResponse):
    """aiohttp 3.14 asks for the writer that sent the request; aioresponses 0.7.9, which sends none, does not know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


def _reader_without_connection(loop: Any = None) -> StreamReader:
    """Takes a body of any size: past its limit a reader pauses the connection, and here there is none to pause."""
    return StreamReader(ResponseHandler(loop=loop), limit=2**40, loop=loop)


if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
    vars(aioresponses.core).update(ClientResponse=_Response, stream_reader_factory=_reader_without_connection)


def pytest_configure() -> None:
    """Without this looptime makes the main thread a loop at the first synchronous test, and nobody closes it."""
    asyncio.set_event_loop(None)


async def _run_sync(
    func: Callable[..., Any],
    *args: Any,
    abandon_on_cancel: bool = False,
    limiter: anyio.CapacityLimiter | None = None,
) -> Any:
    """As anyio's, but in a thread that looptime knows of: else its clock would leap while the thread works."""
    async with limiter or to_thread.current_default_thread_limiter():
        with anyio.CancelScope(shield=not abandon_on_cancel):
            return await asyncio.get_running_loop().run_in_executor(None, func, *args)


@pytest.fixture(autouse=True)
def threads_take_real_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("looptime") is not None:
        monkeypatch.setattr(to_thread, "run_sync", _run_sync)


@pytest.fixture
def responses() -> Iterator[aioresponses.aioresponses]:
    """Answers instead of vendors: `responses.get(url, body=...)`. For pages only; HTTP itself wants a real server."""
    with aioresponses.aioresponses() as mock:
        yield mock
