"""The API of a plant whose vendor is a script, over a real socket, and a plain HTTP client for it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from pydantic import SecretStr

from collectord.client import Client, open_session
from collectord.config import Configuration
from collectord.delivering import Delivery
from collectord.health import HealthBoard, SinkStatus
from collectord.kept import KeptSources
from collectord.limits import Budgets
from collectord.management import Catalogue, Listeners, Plant, serve
from collectord.outbox import Outbox
from collectord.settings import (
    CollectorSettings,
    DaemonSettings,
    HttpSinkSettings,
    ManagementSettings,
    RetryPolicy,
    SourceConfig,
    SourceSettings,
)
from collectord.source import SourceType, StreamType
from collectord.sources import SOURCE_TYPES
from collectord.store import Store
from collectord.supervisor import Supervisor
from tests.fakes import RecordingSink, ScriptedStream

KEY = "a-key-of-the-test"
KEPT_BY = "a key that seals what the API keeps"
SINK = HttpSinkSettings(type="http", url=SecretStr("http://127.0.0.1:9/"))


@dataclass
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """What stands behind the API."""

    plant: Plant
    listeners: Listeners
    session: aiohttp.ClientSession
    socket: Path
    streams: dict[str, ScriptedStream]
    sink: RecordingSink
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        assert self.listeners.address is not None
        return "{}:{}".format(*self.listeners.address)

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = KEY, **headers: str) -> Reply:
        """Ask over TCP, with the right key unless told otherwise; `_` in a header's name stands for `-`."""
        sent = {} if key is None else {"Authorization": basic("admin", key)}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {"data": body} if isinstance(body, bytes | io.BytesIO | None) else {"json": body}
        url = f"http://{self.authority}{path}"
        async with self.session.request(method, url, headers=sent, allow_redirects=False, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def ask_socket(self, path: str) -> int:
        """The status of an answer by the Unix socket, without a key."""
        connector = aiohttp.UnixConnector(str(self.socket))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://x{path}") as answer:
            return answer.status

    async def get(self, path: str, status: int = HTTPStatus.OK) -> Any:
        reply = await self.ask("GET", path)
        assert reply.status == status, reply
        return reply.json

    async def poll_until(self, name: str, holds: Callable[[], Any]) -> None:
        """Ask a source to poll until something is so: one that polls just now need not begin another poll."""

        def polled() -> Any:
            self.plant.supervisor.poll(name)
            return holds()

        await eventually(polled)

    async def start(self, *names: str) -> None:
        """Let sources of these names run, and no others."""
        daemon = DaemonSettings(collector=CollectorSettings(name="soc-1"), sinks={"default": SINK})
        await self.plant.catalogue.apply(Configuration(daemon, {name: source(name) for name in names}, frozenset(), ()))


def basic(access_id: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{access_id}:{key}".encode()).decode()


def source(name: str) -> SourceSettings:
    return SourceSettings(type="Script", config=SourceConfig(name=name), file=f"sources.d/{name}.yaml")


async def eventually(holds: Any, seconds: float = 10.0) -> Any:
    """What `holds` returns once it is true."""
    with anyio.fail_after(seconds):
        while not (result := holds()):
            await anyio.sleep(0.005)
    return result


def management(key: str = KEY, **options: Any) -> ManagementSettings:
    return ManagementSettings(listen="127.0.0.1:0", access_key=SecretStr(key), **options)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    streams: dict[str, ScriptedStream] = {}

    def open_stream(settings: SourceSettings, _connect: Any) -> Mapping[str, ScriptedStream]:
        return {"events": streams.setdefault(settings.name, ScriptedStream())}

    kind = SourceType(
        name="Script",
        config=SourceConfig,
        streams={"events": StreamType(300.0)},
        selected=lambda _: ["events"],
        open=open_stream,
        siem={},
        after_window=3600.0,
    )
    sink = RecordingSink()
    async with AsyncExitStack() as life:
        store = life.enter_context(closing(Store.open(tmp_path / "state")))
        outbox, health = Outbox(store), HealthBoard(store)
        await outbox.load()
        outbox.limit("default", 2**30)
        kept = KeptSources(store, KEPT_BY)
        vendors = await life.enter_async_context(open_session())
        types = {**SOURCE_TYPES, "Script": kind}
        connect = lambda _: partial(Client, vendors, Budgets())
        supervisor = Supervisor(outbox, health, {"default": sink}, types, connect, paused=kept.paused)
        delivery = Delivery(sink, RetryPolicy(), outbox, health, SinkStatus("default", "http"))
        catalogue = Catalogue(kept, supervisor, tmp_path)
        started_ms = time.time_ns() // 1_000_000
        deliveries = {"default": delivery}
        plant = Plant(started_ms, "soc-1", catalogue, outbox, health, supervisor, deliveries, store)
        listeners = await life.enter_async_context(serve(plant, tmp_path / "api.sock", management()))
        session = await life.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)))
        # Tasks of their own: a fixture ends in another task than it begins in, and a task group may not.
        tasks = [asyncio.create_task(supervisor.run()), asyncio.create_task(delivery.run())]
        await asyncio.sleep(0)
        site = Site(plant, listeners, session, tmp_path / "api.sock", streams, sink)
        await site.start()
        plant.is_ready = True
        yield site
        await supervisor.apply({}, CollectorSettings())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
