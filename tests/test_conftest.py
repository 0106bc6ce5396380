"""The test set-up itself: what we lean on holds, and what we work round is still broken."""

import asyncio
import time

import aiohttp
import aioresponses.compat
import aioresponses.core
import anyio
import pytest

URL = "https://acme.okta.com/api/v1/logs"


async def read(url=URL, method="GET"):
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, await response.read()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_responses_answer(responses, method):
    responses.add(URL, method=method, status=202, body=b'[{"uuid": 1}]')
    assert await read(method=method) == (202, b'[{"uuid": 1}]')


async def test_responses_raise(responses):
    responses.get(URL, exception=aiohttp.ServerDisconnectedError())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await read()


async def test_large_bodies_arrive(responses):
    body = b"x" * 5_000_000
    responses.get(URL, body=body, repeat=True)
    assert await read() == (200, body)
    async with aiohttp.ClientSession() as session, session.get(URL) as response:
        assert b"".join([chunk async for chunk in response.content.iter_chunked(65_536)]) == body


async def test_aioresponses_still_needs_our_response_class(responses, monkeypatch):
    """If this fails, aioresponses knows aiohttp 3.14: take `_Response` out of conftest.py."""
    monkeypatch.setattr(aioresponses.core, "ClientResponse", aiohttp.ClientResponse)
    responses.get(URL, body=b"[]")
    with pytest.raises(TypeError, match="stream_writer"):
        await read()


async def test_aioresponses_still_needs_our_reader(responses, monkeypatch):
    """If this fails, aioresponses takes large bodies: take `_reader_without_connection` out of conftest.py."""
    monkeypatch.setattr(aioresponses.core, "stream_reader_factory", aioresponses.compat.stream_reader_factory)
    responses.get(URL, body=b"x" * 5_000_000)
    with pytest.raises(AssertionError):
        await read()


@pytest.mark.looptime
async def test_marked_tests_have_a_fake_clock(looptime):
    began = time.monotonic()
    await anyio.sleep(3600)
    assert looptime == 3600
    with anyio.move_on_after(50):
        await anyio.Event().wait()
    assert looptime == 3650
    assert time.monotonic() - began < 5


@pytest.mark.looptime
async def test_real_work_is_not_cut_short_by_the_fake_clock():
    with anyio.fail_after(5):
        await anyio.to_thread.run_sync(time.sleep, 0.2)


@pytest.mark.looptime
async def test_the_fake_clock_stands_while_a_thread_works(looptime):
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1000)
        await anyio.to_thread.run_sync(time.sleep, 0.05)
        assert looptime < 1
    assert looptime == pytest.approx(1000, abs=1)


async def test_unmarked_tests_have_the_real_clock():
    began = time.monotonic()
    await anyio.sleep(0.05)
    assert time.monotonic() - began >= 0.05
    assert asyncio.get_running_loop().time() == pytest.approx(time.monotonic(), abs=1)
