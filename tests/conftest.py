"""What all tests share: aioresponses made to work, and the clock.

`@pytest.mark.looptime` gives a test a fake clock: its event loop jumps to the next timer instead of waiting, so an hour's
back-off takes no time and `looptime` (a fixture, a number of seconds from the test's start) says what the clock shows.
Everything else (sockets, threads, files) works as usual. It is the loop's clock alone: `time.monotonic()` goes on as ever.
"""

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aioresponses.core
import pytest
from aiohttp import ClientResponse, StreamReader
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses as AioResponses


class _Response(ClientResponse):
    """aiohttp 3.14 asks for the writer that sent the request; aioresponses 0.7.9, which sends none, does not know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


def _reader_without_connection(loop: Any = None) -> StreamReader:
    """Takes a body of any size at once: past its limit a reader pauses a connection, and here there is none to pause."""
    return StreamReader(ResponseHandler(loop=loop), limit=2**40, loop=loop)


if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
    aioresponses.core.ClientResponse = _Response
    aioresponses.core.stream_reader_factory = _reader_without_connection


@pytest.fixture
def responses() -> Iterator[AioResponses]:
    """Answers instead of vendors: `responses.get(url, body=...)`. For pages only; HTTP itself wants a real server."""
    with AioResponses() as mock:
        yield mock
