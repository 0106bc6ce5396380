"""A source's real loops and outbox on a simulated vendor, for the tests of one vendor; and walks through one stream."""

import json
import math
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import anyio

from collectord import layouts
from collectord.client import Client, open_session
from collectord.collecting import Collector, Surroundings
from collectord.demo.envelope import read_line
from collectord.demo.oracle import expect, judge
from collectord.demo.sink import Delivered
from collectord.health import HealthBoard, Resource, State, StreamStatus
from collectord.limits import Budgets
from collectord.metadata import metadata_of
from collectord.outbox import Outbox, StreamKey
from collectord.settings import CollectorSettings, RetryPolicy
from collectord.sources import SOURCE_TYPES
from collectord.store import Store


@asynccontextmanager
async def connecting(*, calm=False):
    """Makes clients that share a session and budgets; only `calm` ones keep to our own pace."""
    async with open_session() as session:
        budgets = Budgets()

        def connect(origin, *, authorization, limits):
            limits = limits if calm else replace(limits, per_second=math.inf)
            return Client(session, budgets, origin, authorization=authorization, limits=limits)

        yield connect


async def walk(stream, cursor=None, most=400):
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

    def __init__(self, simulator, store, settings, rare):
        self.simulator = simulator
        self.outbox = Outbox(store)
        self.health = HealthBoard(store)
        self.records = {}
        self.statuses = {}
        self.errors = {}
        self.lines = []
        self._settings = settings
        self._name = settings(simulator.base_url).name
        self._rare = rare

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

    async def collect(self, until=None, apis=None, *, seconds=0.3, interval=0.05, retry=None, **options):
        """Run new streams from the saved cursors, as after a start of the daemon, until all is there and a bit longer.

        The clocks are real, since the store works in threads; what an hour brings is brought by the vendor's clock.
        """
        settings = self._settings(self.simulator.base_url, **({"apis": apis} if apis else {}), **options)
        async with connecting() as connect, anyio.create_task_group() as group:
            opened = SOURCE_TYPES[settings.type].open(settings, connect)
            for name, stream in opened.items():
                group.start_soon(self._run, name, stream, 3600 if name in self._rare else interval, retry)
            with anyio.move_on_after(20):
                while not (until() if until else self.is_complete(opened)):
                    await anyio.sleep(0.02)
                await anyio.sleep(seconds)
            group.cancel_scope.cancel()

    def checkpoint(self, name):
        return self.outbox.checkpoint(StreamKey(self._name, name))

    def later(self, seconds):
        """Time passes at the vendor."""
        self.simulator.knobs.clock_skew_seconds += seconds

    def is_complete(self, names):
        """Whether all that was issued of these streams has come; of a rare one nobody can tell."""
        wanted = {*names} - {*self._rare}
        return all(len(self.of(name)) >= len(self.simulator.issued.get(name, ())) for name in wanted)

    def of(self, name):
        """Distinct records that came of a stream."""
        return {record.event for record in self.records.get((self._name, name), ())}

    async def _run(self, name, stream, interval, retry):
        settings = self._settings(self.simulator.base_url)
        around = Surroundings(
            self.outbox,
            self.health,
            Resource("Source", 1, settings.name),
            {"rig": cast("Any", self)},
            None,
            retry or RetryPolicy(initial=0.01, max=0.05),
        )
        status = StreamStatus(name, interval, State.INITIALIZED)
        self.statuses.setdefault(name, []).append(status)
        kind = SOURCE_TYPES[settings.type]
        inventory = kind.streams[name].inventory
        metadata = metadata_of(CollectorSettings(), settings, name, kind.siem, inventory=inventory)
        collector = Collector(StreamKey(settings.name, name), stream, metadata, status, around)
        self.errors[name] = await collector.run(0.0)

    def verdict(self, **how):
        return judge(expect(self._name, self.simulator, **how), self.records)

    def suppressed(self, name):
        return sum(status.duplicates_suppressed for status in self.statuses[name])


@asynccontextmanager
async def rigged(simulator, directory, settings, rare=()):
    """A rig with a store; `settings(base_url, apis=, **options)` makes a source's, `rare` streams are polled once."""
    store = Store.open(directory)
    try:
        made = Rig(simulator, store, settings, rare)
        await made.outbox.load()
        await made.health.load()
        made.outbox.limits["rig"] = 2**40
        await made.outbox.attach("rig", made.offer)
        yield made
    finally:
        with suppress(Exception):
            store.close()
