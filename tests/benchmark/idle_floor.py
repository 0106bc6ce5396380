"""The floor of idle sources: `python idle_floor.py PORT COUNT INTERVAL` asks each host now and then; no more."""

import asyncio
import sys

import aiohttp
import uvloop


def address(number: int) -> str:
    """A loopback address of its own for each source."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


async def poll(session: aiohttp.ClientSession, base_url: str, offset: float, interval: float) -> None:
    await asyncio.sleep(offset)
    while True:
        async with session.get(f"{base_url}/api/v1/logs?limit=1000") as answer:
            assert await answer.read() == b"[]"
        await asyncio.sleep(interval)


async def main(port: int, count: int, interval: float) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(poll(session, f"http://{address(number)}:{port}", interval * number / count, interval))


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
