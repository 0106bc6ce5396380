"""A SentinelOne source on a simulated console: the module alone, or with the real loop and outbox behind it."""

import json
import math
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import anyio
from pydantic import SecretStr

from collectord import layouts
from collectord.client import Client, open_session
from collectord.collecting import Collector, Surroundings
from collectord.demo.envelope import read_line
from collectord.demo.oracle import expect, judge
from collectord.demo.sentinelone import SentinelOneSimulator
from collectord.demo.sentinelone_knobs import SentinelOneKnobs
from collectord.demo.sink import Delivered
from collectord.health import HealthBoard, Resource, State, StreamStatus
from collectord.limits import Budgets
from collectord.metadata import metadata_of
from collectord.outbox import Outbox, StreamKey
from collectord.settings import CollectorSettings, RetryPolicy, SourceOptions, SourceSettings
from collectord.sources.sentinelone import SOURCE_TYPE, SentinelOneConfig
from collectord.store import Store

TOKEN = "S1testTESTtestTESTtest"
NAME = "s1"
APIS = ("activities", "threats", "agents")


def settings(base_url, apis=APIS, **options):
    config = SentinelOneConfig(
        name=NAME,
        base_url="https://acme.sentinelone.net/",
        api_secret=SecretStr(TOKEN),
        supported_apis=apis,
        fields={"_siemForward": True},
    )
    return SourceSettings(type=SOURCE_TYPE.name, config=config, options=SourceOptions(base_url=base_url, **options))


@asynccontextmanager
async def console(**knobs):
    """A console without limits, unless they are asked for."""
    simulator = SentinelOneSimulator(
        TOKEN, SentinelOneKnobs(**{"rate_limits": None, "agreed_per_second": None, **knobs})
    )
    async with simulator.serve():
        yield simulator


@asynccontextmanager
async def streams(base_url, apis=APIS, *, calm=False, **options):
    """The streams of one source; only `calm` ones keep to four requests a second."""
    async with open_session() as session:
        budgets = Budgets()

        def connect(origin, *, authorization, limits):
            limits = limits if calm else replace(limits, per_second=math.inf)
            return Client(session, budgets, origin, authorization=authorization, limits=limits)

        yield SOURCE_TYPE.open(settings(base_url, apis, **options), connect)


@asynccontextmanager
async def one(simulator, name, **options):
    async with streams(simulator.base_url, (name,), **options) as opened:
        yield opened[name]


async def walk(stream, cursor=None, most=200):
    """One poll: its pages, each fetched with a cursor that went through JSON."""
    pages = []
    for _ in range(most):
        page = await stream.fetch(None if cursor is None else json.loads(json.dumps(cursor)))
        pages.append(page)
        cursor = page.cursor
        if not page.more:
            return pages
    raise AssertionError("endless")


def ids(pages):
    return [record.id for page in pages for record in page.records]


class Rig:
    """A real Collector with a real outbox for each stream; what they accept is held for the oracle."""

    def __init__(self, simulator, store):
        self.simulator = simulator
        self.outbox = Outbox(store)
        self.health = HealthBoard(store)
        self.records = {}
        self.statuses = {}
        self.errors = {}
        self.lines = []

    def offer(self, entries):
        for entry in entries:
            for line in entry.batch.lines().split(b"\n")[:-1]:
                read, complaints = read_line(line)
                assert not complaints, complaints
                self.lines.append(json.loads(line.decode("utf-8", "surrogatepass")))
                kept = self.records.setdefault((read.source, read.stream), [])
                kept.append(Delivered(read.id, read.event, entry.batch.id))

    def encode(self, records, metadata):
        return layouts.batches("envelope", records, metadata, max_bytes=2**20, compress=True)

    async def collect(self, until=None, apis=APIS, *, seconds=0.3, interval=0.05, retry=None, **options):
        """Run new streams from the saved cursors, as after a start of the daemon, until all is there and a bit longer.

        The clocks are real, since the store works in threads; what an hour brings is brought by the console's clock.
        """
        until = until or (lambda: self.is_complete(apis))
        async with streams(self.simulator.base_url, apis, **options) as opened, anyio.create_task_group() as group:
            for name, stream in opened.items():
                group.start_soon(self._run, name, stream, interval, retry)
            with anyio.move_on_after(20):
                while not until():
                    await anyio.sleep(0.02)
                await anyio.sleep(seconds)
            group.cancel_scope.cancel()

    def later(self, seconds):
        """Time passes at the console."""
        self.simulator.knobs.clock_skew_seconds += seconds

    def is_complete(self, apis=APIS):
        return all(len(self.of(name)) >= len(self.simulator.issued.get(name, ())) for name in apis)

    def of(self, name):
        """Distinct records that came of a stream."""
        return {record.event for record in self.records.get((NAME, name), ())}

    async def _run(self, name, stream, interval, retry):
        around = Surroundings(
            self.outbox,
            self.health,
            Resource("Source", 1, NAME),
            {"rig": cast("Any", self)},
            None,
            retry or RetryPolicy(initial=0.01, max=0.05),
        )
        status = StreamStatus(name, interval, State.INITIALIZED)
        self.statuses.setdefault(name, []).append(status)
        metadata = metadata_of(
            CollectorSettings(),
            settings(self.simulator.base_url),
            name,
            SOURCE_TYPE.siem,
            inventory=SOURCE_TYPE.streams[name].inventory,
        )
        collector = Collector(StreamKey(NAME, name), stream, metadata, status, around)
        self.errors[name] = await collector.run(0.0)

    def verdict(self, **how):
        return judge(expect(NAME, self.simulator, **how), self.records)

    def suppressed(self, name):
        return sum(status.duplicates_suppressed for status in self.statuses[name])


@asynccontextmanager
async def rig(simulator, directory):
    store = Store.open(directory)
    try:
        made = Rig(simulator, store)
        await made.outbox.load()
        await made.health.load()
        made.outbox.limits["rig"] = 2**40
        await made.outbox.attach("rig", made.offer)
        yield made
    finally:
        with suppress(Exception):
            store.close()
