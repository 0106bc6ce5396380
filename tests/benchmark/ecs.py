"""`python -m tests.benchmark.ecs`: what ECS documents cost, against the envelope, in one process and in turns.

For a page of each event stream, as it came from the vendor: split it into records, finish batches, compress them. CPU
time of this thread alone; README.md says how to read it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec
import orjson
from pydantic import TypeAdapter

from collectord.demo.netskope_events import NetskopeEvents
from collectord.demo.okta_events import OktaEvents
from collectord.demo.sailpoint_objects import SailPointObjects
from collectord.demo.sentinelone_objects import SentinelOneObjects, snowflake
from collectord.records import Metadata, Record, parse_time
from collectord.settings import AnySinkSettings
from collectord.sink import Sink
from collectord.sinks import open_sink
from collectord.splitting import heads, slices
from tests.benchmark.subjects import allocator

START_MS = 1_788_220_800_000
SIEM = {"_siemVendor": "Vendor", "_siemProduct": "Product", "_siemFormat": "JSON"}


@dataclass(frozen=True)
class Stream:
    """A stream, with one page of it, and what is read of each of its records."""

    source_type: str
    name: str
    body: bytes
    head: type[msgspec.Struct]

    def records(self) -> list[Record]:
        """Split the page, as the sources do."""
        elements = slices(self.body)
        described: list[Any] = heads(self.body, elements, self.head)
        return [
            Record(raw, head.id, parse_time(head.time), head.event_id)
            for raw, head in zip(elements, described, strict=True)
        ]

    def metadata(self) -> Metadata:
        return Metadata("soc-1", "prod", "sec", self.name, START_MS, SIEM, source_type=self.source_type)


def stream(source_type: str, name: str, elements: Sequence[Any], keys: tuple[str, str, str]) -> Stream:
    names = dict(zip(("id", "time", "event_id"), keys, strict=True))
    fields = [(name, Any, None) for name in names]
    head = msgspec.defstruct("Head", fields, rename=names, gc=False)
    return Stream(source_type, name, b"[" + b",".join(orjson.dumps(element) for element in elements) + b"]", head)


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


def cpu_seconds(of: Stream, into: Sink) -> float:
    began = time.thread_time()
    batches = into.encode(of.records(), of.metadata())
    used = time.thread_time() - began
    assert batches
    return used


def measure(of: Stream, rounds: int) -> tuple[float, float, float]:
    """Microseconds a record as an envelope, as an ECS document; and the median of the rounds' ratios."""
    envelope, ecs = sink(type="http"), sink(type="elasticsearch")
    count = len(of.records())
    pairs = [(cpu_seconds(of, envelope), cpu_seconds(of, ecs)) for _ in range(rounds + 1)][1:]
    scale = 1_000_000 / count
    ratio = median(two / one for one, two in pairs)
    return scale * median(one for one, _ in pairs), scale * median(two for _, two in pairs), ratio


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.ecs", description="What ECS documents cost.")
    parser.add_argument("--records", type=int, default=1000, help="in a page; default: 1000")
    parser.add_argument("--rounds", type=int, default=40, help="of each form, in turns; default: 40")
    options = parser.parse_args(words)
    print(f"{'µs of CPU a record':34}{'bytes':>8}{'envelope':>10}{'ecs':>8}{'ratio':>8}")
    for each in streams(options.records):
        gc.collect()
        one, two, ratio = measure(each, options.rounds)
        name = f"{each.source_type} {each.name}"
        print(f"{name:34}{len(each.body) / options.records:8.0f}{one:10.1f}{two:8.1f}{ratio:8.2f}")
    return 0


if __name__ == "__main__":
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # as the unit file sets it; read once, when a process begins
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.benchmark.ecs", *sys.argv[1:]], {**os.environ, **allocator()}
        )
    sys.exit(main())
