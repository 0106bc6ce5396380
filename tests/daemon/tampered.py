"""The daemon with something wrong or slow inside: `site.start("slow_reload")`.

Nothing in the product knows of it: the module that stands below the mistake is changed before the command runs.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import orjson
from msgspec.structs import astuple

from collectord import collecting, config, daemon
from collectord.errors import SinkUnavailable
from collectord.outbox import Acceptance, Outbox, SeenPage, StreamKey
from collectord.records import Batch, Metadata, Record
from collectord.sinks.http import HttpSink
from collectord.sources.okta.events import Events
from collectord.store import Store
from collectord.supervisor import Supervisor

FETCHES = 3
"""A stream goes wrong after so many."""
STEP_SECONDS = 0.5
RELOAD_SECONDS = 0.4


def say(event: str) -> None:
    """A line for the test that waits for this moment."""
    print(json.dumps({"level": "info", "event": event}), file=sys.stderr, flush=True)


def change(owner: Any, name: str, by: Callable[[Any], Any]) -> None:
    """Put what `by` makes of it in the place of something that stands in a class or module."""
    setattr(owner, name, by(getattr(owner, name)))


def after_some_fetches(then: Callable[[], Any]) -> None:
    """Let the fourth fetch do something else."""
    counted = count(1)

    def tamper(fetch: Any) -> Any:
        async def tampered(self: Events, cursor: Any) -> Any:
            if next(counted) == FETCHES + 1:
                say("it happens")
                await then()
            return await fetch(self, cursor)

        return tampered

    change(Events, "fetch", tamper)


def blocking_stream() -> None:
    """A stream that lets nobody else run."""

    async def block() -> None:
        time.sleep(3)

    after_some_fetches(block)


def hanging_stream() -> None:
    """A stream that never comes back; it is missed sooner than usual."""
    vars(collecting)["_LONGEST_STEP_SECONDS"] = STEP_SECONDS
    after_some_fetches(anyio.sleep_forever)


def failing_stream() -> None:
    """A stream with a mistake in it."""

    async def fail() -> None:
        raise ZeroDivisionError("a mistake of ours")

    after_some_fetches(fail)


def slow_start() -> None:
    """A state store that takes its time."""

    def tamper(open_store: Any) -> Any:
        def slowly(directory: Path) -> Store:
            say("opening")
            time.sleep(1)
            store: Store = open_store(directory)
            return store

        return slowly

    change(Store, "open", tamper)


def slow_reload() -> None:
    """Files on a slow disk."""
    loads = count()

    def tamper(load: Any) -> Any:
        def slowly(*arguments: Any) -> Any:
            if next(loads):
                say("reloading")
                time.sleep(RELOAD_SECONDS)
            return load(*arguments)

        return slowly

    change(config, "load", tamper)


def quick_housekeeping() -> None:
    """What is done every ten seconds is done often."""
    vars(daemon)["HOUSEKEEPING_SECONDS"] = 0.2


def eager_collector() -> None:
    """Whatever nobody holds any more is gone at once."""

    def tamper(start: Any) -> Any:
        def started(*arguments: Any) -> Any:
            gc.collect()
            return start(*arguments)

        return started

    change(Supervisor, "_build", tamper)


def cursor_before_the_batch() -> None:
    """The mistake that every other collector made once: the place is saved before what was found there."""

    def tamper(accept: Any) -> Any:
        async def in_two_steps(self: Outbox, page: Acceptance) -> None:
            await accept(self, Acceptance(page.key, page.cursor))
            await anyio.sleep(0.01)
            await accept(self, page)

        return in_two_steps

    change(Outbox, "accept", tamper)


def failed_is_sent() -> None:
    """A sink that could not be reached is believed to have the batch."""

    def tamper(send: Any) -> Any:
        async def hopefully(self: HttpSink, batch: Batch) -> None:
            with suppress(SinkUnavailable):
                await send(self, batch)

        return hopefully

    change(HttpSink, "send", tamper)


def new_key_each_time() -> None:
    """A batch that is sent again looks like another one."""

    def tamper(send: Any) -> Any:
        async def anew(self: HttpSink, batch: Batch) -> None:
            await send(self, replace(batch, id=uuid4().hex))

        return anew

    change(HttpSink, "send", tamper)


def parsed_records() -> None:
    """Records are read and written anew on their way."""

    def tamper(encode: Any) -> Any:
        def anew(self: HttpSink, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
            written = [orjson.dumps(orjson.loads(bytes(record.raw))) for record in records]
            changed = [Record(raw, *astuple(record)[1:]) for raw, record in zip(written, records, strict=True)]
            batches: list[Batch] = encode(self, changed, metadata)
            return batches

        return anew

    change(HttpSink, "encode", tamper)


def forgotten_ids() -> None:
    """What was collected before the daemon was started is not known any more."""

    def tamper(_: Any) -> Any:
        async def nothing(self: Outbox, key: StreamKey) -> list[SeenPage]:
            return []

        return nothing

    change(Outbox, "seen", tamper)
