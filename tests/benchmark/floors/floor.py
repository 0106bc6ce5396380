"""What the floors share. A floor does what any collector of its vendor must do and nothing else.

`python -m tests.benchmark.floors.VENDOR SINK_URL PAGE_SIZE BASE_URL=TOKEN ...` reads each tenant page by page to its
end, splits the pages into records without parsing them, reads the fields without which no collector knows a record or
the way on, and posts each page as gzipped NDJSON. Then it waits to be ended. It keeps nothing, so it loses things.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import aiohttp
import msgspec
import uvloop
from isal import igzip, isal_zlib
from multidict import CIMultiDictProxy
from yarl import URL

T = TypeVar("T")
Split = Callable[[bytes], tuple[Sequence[msgspec.Raw], T]]
"""The records of a page, and what else was read of it."""

_TO_VENDOR = {"Accept": "application/json", "User-Agent": "collectord/floor"}
_TO_SINK = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


class Floor:
    """The vendor on one side, the sink on the other."""

    def __init__(self, session: aiohttp.ClientSession, sink: str, page_size: int) -> None:
        self.page_size = page_size
        self._session = session
        self._sink = sink

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[bytes, CIMultiDictProxy[str]]:
        """One answer of the vendor, inflated, and its headers; `url` as it goes over the wire."""
        sent = {**_TO_VENDOR, **headers}
        async with self._session.request(method, URL(url, encoded=True), headers=sent, data=body) as answer:
            answer.raise_for_status()
            page = await answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                page = isal_zlib.decompress(page, 31)
            return page, answer.headers

    async def pass_on(self, page: bytes, split: Split[T]) -> T:
        """Split a page and post its records, if it has any; returns what else was read."""
        read, body = await asyncio.to_thread(_finished, page, split)
        if body:
            async with self._session.post(self._sink, data=body, headers=_TO_SINK) as answer:
                answer.raise_for_status()
        return read


def _finished(page: bytes, split: Split[T]) -> tuple[T, bytes]:
    records, read = split(page)
    return read, igzip.compress(b"\n".join([*records, b""]), 1) if records else b""


def run(collect: Callable[[Floor, str, str], Awaitable[None]]) -> None:
    """Collect from all tenants of the command line: `collect(floor, base_url, token)` for each."""
    uvloop.run(_run(collect, *sys.argv[1:]))


async def _run(collect: Callable[[Floor, str, str], Awaitable[None]], sink: str, page_size: str, *tenants: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False, read_bufsize=2**20) as session:
        floor = Floor(session, sink, int(page_size))
        await asyncio.gather(*(collect(floor, *tenant.split("=")) for tenant in tenants))
        await asyncio.Event().wait()
