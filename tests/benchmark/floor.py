"""The floor: a program that does what any collector must do and nothing else. It keeps nothing, so it loses things.

`python floor.py SINK_URL BASE_URL=TOKEN ...` reads each log by its next links to the end, splits the pages into records
without parsing them, reads the records' ids, and posts each page as gzipped NDJSON. Then it waits to be ended.
"""

import asyncio
import re
import sys

import aiohttp
import msgspec
import uvloop
from isal import igzip, isal_zlib
from yarl import URL


class Head(msgspec.Struct, gc=False):
    uuid: str
    published: str
    eventType: str


RECORDS = msgspec.json.Decoder(list[msgspec.Raw])
HEADS = msgspec.json.Decoder(list[Head])
NEXT = re.compile(r'<([^>]+)>; rel="next"')
TO_SINK = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def finished(page: bytes) -> tuple[int, bytes]:
    records = RECORDS.decode(page)
    heads = HEADS.decode(page)
    assert all(head.uuid for head in heads)
    return len(records), igzip.compress(b"\n".join([*records, b""]), 1)


async def collect(session: aiohttp.ClientSession, sink: str, base_url: str, token: str) -> None:
    headers = {"Authorization": f"SSWS {token}", "Accept": "application/json", "User-Agent": "collectord/floor"}
    url = URL(f"{base_url}/api/v1/logs?since=2026-01-01T00%3A00%3A00.000Z&limit=1000", encoded=True)
    while True:
        async with session.get(url, headers=headers) as answer:
            page = await answer.read()
            url = URL(NEXT.findall(", ".join(answer.headers.getall("Link")))[0], encoded=True)
            if answer.headers.get("Content-Encoding") == "gzip":
                page = isal_zlib.decompress(page, 31)
        count, body = await asyncio.to_thread(finished, page)
        if not count:
            return
        async with session.post(sink, data=body, headers=TO_SINK) as answer:
            answer.raise_for_status()


async def main(sink: str, *logs: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False, read_bufsize=2**20) as session:
        await asyncio.gather(*(collect(session, sink, *log.split("=")) for log in logs))
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
