"""`python -m tests.benchmark.ecs`: what ECS documents cost, against the envelope, in one process and in turns.

For each event stream a page as it came from the vendor, gzip and all, goes the way of a record: inflated, split, made
into finished batches, kept in the outbox, acknowledged. Only the network is left out. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import msgspec
import orjson
from isal import igzip
from pydantic import TypeAdapter

from collectord.demo.netskope_events import NetskopeEvents
from collectord.demo.okta_events import OktaEvents
from collectord.demo.sailpoint_objects import SailPointObjects
from collectord.demo.sentinelone_objects import SentinelOneObjects, snowflake
from collectord.outbox import Acceptance, Entry, Outbox, StreamKey
from collectord.records import Metadata, Record, parse_time
from collectord.settings import AnySinkSettings
from collectord.sink import Sink
from collectord.sinks import open_sink
from collectord.splitting import heads, slices
from collectord.store import Store
from tests.benchmark.subjects import allocator

START_MS = 1_788_220_800_000
SIEM = {"_siemVendor": "Vendor", "_siemProduct": "Product", "_siemFormat": "JSON"}


@dataclass(frozen=True)
class Stream:
    """A stream, with one page of it, and what is read of each of its records."""

    source_type: str
    name: str
    packed: bytes
    size: int
    """Of the page, inflated."""
    head: type[msgspec.Struct]

    def records(self, body: bytes) -> list[Record]:
        """Split the page, as the sources do."""
        elements = slices(body)
        described: list[Any] = heads(body, elements, self.head)
        return [
            Record(raw, head.id, parse_time(head.time), head.event_id)
            for raw, head in zip(elements, described, strict=True)
        ]

    def metadata(self) -> Metadata:
        return Metadata("soc-1", "prod", "sec", self.name, START_MS, SIEM, source_type=self.source_type)


def stream(source_type: str, name: str, elements: list[Any], keys: tuple[str, str, str]) -> Stream:
    names = dict(zip(("id", "time", "event_id"), keys, strict=True))
    fields = [(name, Any, None) for name in names]
    head = msgspec.defstruct("Head", fields, rename=names, gc=False)
    body = orjson.dumps(elements)
    return Stream(source_type, name, igzip.compress(body), len(body), head)


def streams(size: int) -> list[Stream]:
    okta, sailpoint, netskope = OktaEvents(1), SailPointObjects(1, 900), NetskopeEvents(1)
    sentinelone = SentinelOneObjects(1, {"activities": 900})
    times = [START_MS + 3 * number for number in range(size)]
    events = [sailpoint.event(sailpoint.event_id(), at) for at in times]
    activities = [sentinelone.make("activities", snowflake(at * 1000, 1), at * 1000) for at in times]
    traffic = [netskope.event("application", at // 1000) for at in times]
    return [
        stream("Okta", "events", [okta.event(at) for at in times], ("uuid", "published", "eventType")),
        stream("SailPoint", "events", events, ("id", "created", "technicalName")),
        stream("SentinelOne Mgmt API", "activities", activities, ("id", "createdAt", "activityUuid")),
        stream("Netskope", "application", traffic, ("_id", "timestamp", "record_type")),
    ]


def sink(**settings: Any) -> Sink:
    adapter: TypeAdapter[Any] = TypeAdapter(AnySinkSettings)
    nowhere: Any = None  # nothing is sent
    return open_sink(adapter.validate_python({"url": "http://127.0.0.1:9", **settings}), nowhere)


@dataclass(frozen=True)
class Costs:
    """CPU-seconds of one page."""

    encoding: float
    """From the page's bytes to finished batches."""
    way: float
    """All of it."""


@dataclass
class Bench:
    """An outbox, and what it offers to the sink."""

    outbox: Outbox
    offered: list[Entry]

    async def cost(self, of: Stream, into: Sink) -> Costs:
        began = time.process_time()
        body = igzip.decompress(of.packed)
        inflated = time.process_time()
        batches = into.encode(of.records(body), of.metadata())
        encoded = time.process_time()
        await self.outbox.accept(Acceptance(StreamKey("prod", of.name), {"after": began}, {"default": batches}))
        await self.outbox.acknowledge(*(entry.seq for entry in self.offered))
        self.offered.clear()
        return Costs(encoded - inflated, time.process_time() - began)


async def measure(of: Stream, rounds: int) -> list[tuple[Costs, Costs]]:
    """Pairs: as envelopes, and as ECS documents."""
    envelope, ecs = sink(type="http"), sink(type="elasticsearch")
    with tempfile.TemporaryDirectory() as folder, closing(Store.open(Path(folder))) as store:
        outbox = Outbox(store)
        await outbox.load()
        outbox.limit("default", sys.maxsize)
        bench = Bench(outbox, [])
        await outbox.attach("default", bench.offered.extend)
        pairs = [(await bench.cost(of, envelope), await bench.cost(of, ecs)) for _ in range(rounds + 1)]
    return pairs[1:]


def row(of: Stream, pairs: list[tuple[Costs, Costs]], records: int) -> str:
    """The medians: microseconds a record, and the ratio of each pair."""
    figures = []
    for part in (attrgetter("way"), attrgetter("encoding")):
        for each in zip(*pairs, strict=True):
            figures.append(f"{median(map(part, each)) / records * 1_000_000:10.1f}")
        figures.append(f"{median(part(two) / part(one) for one, two in pairs):8.2f}")
    return f"{of.source_type + ' ' + of.name:32}{of.size / records:8.0f}{''.join(figures)}"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.ecs", description="What ECS documents cost.")
    parser.add_argument("--records", type=int, default=1000, help="in a page; default: 1000")
    parser.add_argument("--rounds", type=int, default=40, help="of each form, in turns; default: 40")
    options = parser.parse_args(words)
    print(f"{'':40}{'the way of a record':^28}{'its encoding alone':^28}")
    print(f"{'µs of CPU a record':32}{'bytes':>8}" + f"{'envelope':>10}{'ecs':>10}{'ratio':>8}" * 2)
    for each in streams(options.records):
        gc.collect()
        print(row(each, anyio.run(measure, each, options.rounds), options.records))
    return 0


if __name__ == "__main__":
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # as the unit file sets it; read once, when a process begins
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.benchmark.ecs", *sys.argv[1:]], {**os.environ, **allocator()}
        )
    sys.exit(main())
