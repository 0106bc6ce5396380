"""Netskope from the simulator into the outbox, through crashes, faults and late records: the oracle compares.

What is in the outbox is what counts: nothing is delivered here, so that the store holds all that was ever accepted.
"""

import gzip
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from random import Random

import anyio
import orjson
import pytest

from collectord import layouts
from collectord.client import Client, open_session
from collectord.collecting import Collector, Surroundings
from collectord.demo import oracle
from collectord.demo.envelope import read_line
from collectord.demo.faults import BadGzip, Cut, EmptyBody, HtmlPage, Reset, Status, VendorError
from collectord.demo.netskope import NetskopeSimulator
from collectord.demo.netskope_knobs import STREAMS, NetskopeKnobs
from collectord.demo.netskope_odd import ODD
from collectord.demo.sink import Delivered
from collectord.health import HealthBoard, Resource, State, StreamStatus
from collectord.limits import Budgets
from collectord.metadata import metadata_of
from collectord.outbox import Outbox, StreamKey
from collectord.settings import CollectorSettings, RetryPolicy, SourceOptions, SourceSettings
from collectord.sources import SOURCE_TYPES
from collectord.store import Store

TOKEN = "0123456789abcdefTEST"
NETSKOPE = SOURCE_TYPES["Netskope"]
TROUBLES = (
    *(Cut(framing) for framing in ("length", "chunked", "close")),
    *(Reset(at) for at in ("before_status", "after_status", "in_body")),
    Reset("before_status", vendor_acts=False),
    BadGzip("cut"),
    BadGzip("checksum"),
    EmptyBody(),
    EmptyBody(vendor_acts=True),
    HtmlPage(),
    VendorError(500),
    VendorError(503),
    VendorError(400),
    Status(502, vendor_acts=True),
    Status(504),
)


class KeptOnDisk:
    """A sink that finishes batches, and that nothing is ever sent to."""

    def encode(self, records, metadata):
        return layouts.batches("envelope", records, metadata, max_bytes=2**20, compress=True)

    async def send(self, batch):
        raise NotImplementedError

    async def check(self):
        raise NotImplementedError


class Rig:
    """Everything between the vendor and the outbox, once; its folder outlives it."""

    def __init__(self, store, outbox, session, base_url, interval, options):
        self.outbox = outbox
        self.store = store
        self.kept = set()
        health = HealthBoard(store)
        given = {"name": "netskope-prod", "tenantID": "acme", "apiToken": TOKEN, "fields": {"_siemForward": True}}
        settings = SourceSettings(
            type="Netskope",
            config=NETSKOPE.config.model_validate(given),
            options=SourceOptions.model_validate({"base_url": base_url, "start": "2h", **options}),
        )
        streams = NETSKOPE.open(settings, partial(Client, session, Budgets()))
        retry = RetryPolicy.model_validate({"then": 60, "initial": 0.01, "max": 0.1})
        around = Surroundings(outbox, health, Resource("Source", 1, "n"), {"disk": KeptOnDisk()}, None, retry)
        self.collectors = [
            Collector(
                StreamKey("netskope-prod", name),
                stream,
                metadata_of(CollectorSettings(), settings, name, NETSKOPE.siem, inventory=False),
                StreamStatus(name, interval, State.INITIALIZED),
                around,
            )
            for name, stream in streams.items()
        ]

    async def lines(self):
        """Everything that was accepted, as it would be delivered."""
        query = "SELECT id, body FROM batch ORDER BY seq"
        rows = await self.store.read(lambda connection: connection.execute(query).fetchall())
        return [(batch, line) for batch, body in rows for line in gzip.decompress(body).split(b"\n")[:-1]]

    async def records(self):
        found: dict[tuple[str, str], list[Delivered]] = {}
        for batch, line in await self.lines():
            read, complaints = read_line(line)
            assert not complaints
            found.setdefault((read.source, read.stream), []).append(Delivered(read.id, read.event, batch))
        return found

    def keep(self, entries):
        """Hear of what was committed."""
        for entry in entries:
            lines = entry.batch.lines().split(b"\n")[:-1]
            self.kept |= {(entry.key.stream, read_line(line)[0].event) for line in lines}

    async def is_kept(self, stream, keys, netskope):
        """Whether these records are where no crash can take them away; what is wrong if not."""
        missing = [key for key in keys if (stream, netskope.issued[stream][key]) not in self.kept]
        return f"next, although {len(missing)} records of {stream} are in no outbox" if missing else ""


@asynccontextmanager
async def rig(directory, netskope, interval=0.05, **options):
    store = Store.open(directory)
    outbox = Outbox(store)
    await outbox.load()
    outbox.limits["disk"] = 2**40
    async with open_session() as session:
        built = Rig(store, outbox, session, netskope.base_url, interval, options)
        built.kept = {(read_line(line)[0].stream, read_line(line)[0].event) for _, line in await built.lines()}
        await outbox.attach("disk", built.keep)
        yield built
    store.close()


@asynccontextmanager
async def running(built):
    async with anyio.create_task_group() as group:
        for collector in built.collectors:
            group.start_soon(collector.run, 0.0)
        yield
        group.cancel_scope.cancel()


async def caught_up(built, netskope):
    """Wait until everything is there, and every stream has asked once more; the test's time limit ends it."""
    wanted = {(stream, payload) for stream, found in netskope.issued.items() for payload in found.values()}
    wanted = {(stream, oracle.on_one_line(payload)) for stream, payload in wanted}
    while not wanted <= built.kept:
        await anyio.sleep(0.05)
    await anyio.sleep(0.8)


def tenant(**knobs):
    return NetskopeSimulator(
        TOKEN, NetskopeKnobs(**{"page_size": 7, "wait_some": 0, "wait_idle": 0, "requests_per_second": None, **knobs})
    )


async def through_crashes(directory, seed):
    random = Random(seed)
    netskope = tenant(shuffle=bool(seed % 2), hwm=("static", "moving", "absent")[seed % 3])
    async with netskope.serve():
        netskope.issue(9 * 10, age_seconds=3600)
        netskope.chaos(0.2, seed, TROUBLES)
        for _ in range(8):
            async with rig(directory, netskope) as built:
                netskope.on_next = partial(built.is_kept, netskope=netskope)
                async with running(built):
                    netskope.issue(random.randrange(1, 30), late_seconds=random.choice((0, 300, 3000)))
                    netskope.issue(3, stream=random.choice(STREAMS), odd=random.sample(list(ODD), 3))
                    await anyio.sleep(random.choice((0.05, 0.3, 0.6, 1.5)))
        netskope.faults.clear()
        async with rig(directory, netskope) as built:
            netskope.on_next = partial(built.is_kept, netskope=netskope)
            async with running(built):
                await caught_up(built, netskope)
            verdict = oracle.judge(oracle.expect("netskope-prod", netskope), await built.records())
    assert verdict.ok, f"seed {seed}: {verdict}"
    assert netskope.violations == []
    assert sum(count for name, count in netskope.counters.items() if name.endswith(" resend")) > 9


async def test_crashes_faults_and_late_records_lose_nothing_and_repeat_nothing(tmp_path):
    async with anyio.create_task_group() as group:
        for seed in range(6):
            (tmp_path / str(seed)).mkdir()
            group.start_soon(through_crashes, tmp_path / str(seed), seed)


async def test_what_a_siem_needs_stands_beside_each_record(tmp_path):
    netskope = tenant()
    async with netskope.serve(), rig(tmp_path, netskope) as built:
        netskope.issue(1, stream="audit", text="Login Successful")
        async with running(built):
            await caught_up(built, netskope)
        ((_, line),) = await built.lines()
    envelope = orjson.loads(line)
    assert envelope["_siemVendor"] == "Netskope"
    assert envelope["_siemProduct"] == "Security Cloud"
    assert envelope["_siemEventID"] == "audit-logon"
    assert envelope["_messageTime"] == envelope["event"]["timestamp"] * 1000
    assert envelope["_id"] == envelope["event"]["_id"]


async def test_a_new_start_loses_nothing_and_leaves_out_what_is_known(tmp_path):
    """The vendor forgot every index while we were away, and records arrived in the meantime."""
    netskope = tenant(fresh_index="refused", page_size=2)  # more than one page is repeated
    async with netskope.serve():
        netskope.issue(9 * 5, late_seconds=0)
        async with rig(tmp_path, netskope) as built, running(built):
            await caught_up(built, netskope)
        for stream in STREAMS:
            netskope.drop_index(stream)
        netskope.issue(9 * 3, late_seconds=300)
        async with rig(tmp_path, netskope) as built:
            async with running(built):
                await caught_up(built, netskope)
            verdict = oracle.judge(oracle.expect("netskope-prod", netskope), await built.records())
            suppressed = sum(collector.status.duplicates_suppressed for collector in built.collectors)
    assert verdict.ok, verdict
    assert suppressed == 9 * 5
    assert netskope.violations == []


async def test_a_stream_without_scope_is_parked_and_the_others_go_on(tmp_path):
    netskope = tenant(denied={"page"})
    async with netskope.serve(), rig(tmp_path, netskope) as built:
        netskope.issue(9 * 5)
        del netskope.issued["page"]
        async with running(built):
            await caught_up(built, netskope)
            states = {collector.key.stream: collector.status.state for collector in built.collectors}
        verdict = oracle.judge(oracle.expect("netskope-prod", netskope), await built.records())
    assert verdict.ok, verdict
    assert [name for name, state in states.items() if state is State.ERROR] == ["page"]
    assert netskope.counters["status 403"] == 1


async def test_a_stream_that_is_caught_up_waits_for_the_interval_and_one_that_is_not_for_wait_time(tmp_path):
    netskope = tenant(wait_some=0.9, wait_full=0.6, hour_batches=False)
    async with netskope.serve(), rig(tmp_path, netskope, interval=2.0) as built:
        netskope.issue(16, stream="alert")
        async with running(built):
            await anyio.sleep(5.5)
        times = [each.at for each in netskope.requests if each.target.endswith("next") and "/alert" in each.target]
        gaps = [later - earlier for earlier, later in pairwise(times)]
    assert netskope.violations == []
    # Full, full, two records, and then nothing new. The interval is counted from the beginning of a poll.
    assert gaps[:2] == pytest.approx([0.6, 0.9], abs=0.2)
    assert gaps[-1] == pytest.approx(2.0, abs=0.3)


MEMORY = """
import re, sys
from pathlib import Path
import anyio
sys.path.insert(0, {root!r})
from tests.sources.test_netskope_end_to_end import open_and_collect
anyio.run(open_and_collect, {base_url!r}, Path({directory!r}), {records})
# Not ru_maxrss, which a child inherits from whoever started it.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


async def open_and_collect(base_url, directory, wanted):
    """Collect so many records into an outbox that gives each batch away at once, as a sink does."""
    netskope = type("Elsewhere", (), {"base_url": base_url})
    async with rig(directory, netskope, start="24h") as built:
        built.outbox.limits["disk"] = 2**26
        queue: list = []
        await built.outbox.attach("disk", queue.extend)
        async with running(built):
            done = 0
            while done < wanted:
                await anyio.sleep(0.01)
                while queue:
                    entry = queue.pop(0)
                    done += entry.batch.count
                    built.outbox.count_delivered(entry)
                    await built.outbox.acknowledge(entry.seq)


@pytest.mark.parametrize(
    ("event_bytes", "pages", "streams"), [(1_500, 3, STREAMS), (2_500, 4, ("page",))], ids=["9x15MB", "1x25MB"]
)
async def test_pages_of_ten_thousand_records_stay_within_200_mib(tmp_path, event_bytes, pages, streams):
    knobs = NetskopeKnobs(requests_per_second=None, gzip=False)
    netskope = NetskopeSimulator(TOKEN, knobs, event_bytes=event_bytes)
    for stream in streams:
        netskope.prerender(pages * 10_000, stream=stream, distinct_pages=1)
    root = str(tmp_path / "state")
    async with netskope.serve() as base_url:
        program = MEMORY.format(
            root=__file__.rsplit("/tests/", 1)[0],
            base_url=base_url,
            directory=root,
            records=pages * 10_000 * len(streams),
        )
        (tmp_path / "state").mkdir()
        began = time.monotonic()
        done = await anyio.run_process([sys.executable, "-c", program], stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode()
    mebibytes = int(done.stdout)
    print(f"{mebibytes} MiB, {time.monotonic() - began:.1f} s")
    assert mebibytes <= 200
