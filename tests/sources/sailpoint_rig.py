"""A SailPoint source on a simulated tenant: the module alone, or with the real loop and outbox behind it."""

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
from collectord.demo.faults import Fault
from collectord.demo.oracle import expect, judge
from collectord.demo.sailpoint import SailPointSimulator
from collectord.demo.sailpoint_knobs import SailPointKnobs
from collectord.demo.sink import Delivered
from collectord.health import HealthBoard, Resource, State, StreamStatus
from collectord.limits import Budgets
from collectord.metadata import metadata_of
from collectord.outbox import Outbox, StreamKey
from collectord.settings import CollectorSettings, RetryPolicy, SourceOptions, SourceSettings
from collectord.sources.sailpoint import SOURCE_TYPE
from collectord.sources.sailpoint.config import SailPointConfig
from collectord.store import Store

CLIENT = "5e1fTESTtest00112233445566778899"
SECRET = "s3cretTESTtestTESTtest"
NAME = "isc"
APIS = ("Events", "Users")
STREAMS = ("events", "users")


def settings(base_url, apis=APIS, *, client=CLIENT, secret=SECRET, version="v3", **options):
    config = SailPointConfig(
        name=NAME,
        org_name="acme",
        client_id=SecretStr(client),
        client_secret=SecretStr(secret),
        supported_apis=apis,
        api_version=version,
        fields={"_siemForward": True},
    )
    return SourceSettings(type=SOURCE_TYPE.name, config=config, options=SourceOptions(base_url=base_url, **options))


@asynccontextmanager
async def tenant(**knobs):
    """A tenant without limits, unless they are asked for; the client must have done nothing wrong in the end."""
    given = {"rate_limit": None, "agreed_per_window": None, **knobs}
    simulator = SailPointSimulator(CLIENT, SECRET, SailPointKnobs(**given))
    async with simulator.serve():
        yield simulator
    assert simulator.violations == []


@asynccontextmanager
async def connecting(*, calm=False):
    """Makes clients that share a session and budgets; only `calm` ones keep to eight requests a second."""
    async with open_session() as session:
        budgets = Budgets()

        def connect(origin, *, authorization, limits):
            limits = limits if calm else replace(limits, per_second=math.inf)
            return Client(session, budgets, origin, authorization=authorization, limits=limits)

        yield connect


@asynccontextmanager
async def streams(base_url, apis=APIS, *, calm=False, **options):
    """The streams of one source."""
    async with connecting(calm=calm) as connect:
        yield SOURCE_TYPE.open(settings(base_url, apis, **options), connect)


@asynccontextmanager
async def one(simulator, name="events", **options):
    async with streams(simulator.base_url, (name.title(),), **options) as opened:
        yield opened[name]


def heard(simulator, path="*"):
    """Every request from now on, with its body."""
    calls: list[Any] = []

    def hear(call):
        calls.append(call)
        return False

    simulator.fail(Fault(), path=path, times=None, when=hear)
    return calls


def searches(calls):
    """The bodies of the searches among them."""
    return [json.loads(call.body) for call in calls if call.path.endswith(("/search", "/search/v1"))]


def bounds(search):
    """Begin and end of what is searched, as written."""
    span = search["filters"]["created"]["range"]
    assert (span["lower"]["inclusive"], span["upper"]["inclusive"]) == (True, False)
    return span["lower"]["value"], span["upper"]["value"]


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


def raws(pages):
    return [bytes(record.raw) for page in pages for record in page.records]


def names(pages):
    """What the pages tell an operator."""
    return [notice.name for page in pages for notice in page.notices]


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

    async def collect(self, until=None, apis=APIS, *, seconds=0.2, interval=0.05, retry=None, **options):
        """Run new streams from the saved cursors, as after a start of the daemon, until all is there and a bit longer.

        The clocks are real, since the store works in threads; what an hour brings is brought by the tenant's clock.
        """
        until = until or (lambda: self.is_complete(apis))
        async with streams(self.simulator.base_url, apis, **options) as opened, anyio.create_task_group() as group:
            for name, stream in opened.items():
                group.start_soon(self._run, name, stream, interval if name == "events" else 3600, retry)
            with anyio.move_on_after(20):
                while not until():
                    await anyio.sleep(0.02)
                await anyio.sleep(seconds)
            group.cancel_scope.cancel()

    def checkpoint(self, name):
        return self.outbox.checkpoint(StreamKey(NAME, name))

    def later(self, seconds):
        """Time passes at the tenant."""
        self.simulator.knobs.clock_skew_seconds += seconds

    def is_complete(self, apis=APIS):
        wanted = [api.lower() for api in apis if api == "Events"]
        return all(len(self.of(name)) >= len(self.simulator.issued.get(name, ())) for name in wanted)

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
