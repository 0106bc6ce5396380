"""The local HTTP sink: takes what INTERFACE.md section 4 says, strictly, and remembers what it took.

`async with sink.serve() as base_url` listens, and any path takes batches. What it holds goes to the oracle; what the
sender did wrong stands in `violations`. A fault with `vendor_acts=True` happens after the batch was stored: the
answer is lost, the batch is not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import anyio
from aiohttp import web

from collectord.demo.exchange import Answer, Call
from collectord.demo.faults import Fault
from collectord.demo.posted import Feed, Layout, Posted, read_post
from collectord.demo.served import Served
from collectord.demo.waits import Waits
from collectord.demo.wire import Wire

_TRIED_AGAIN = frozenset({0, 408, 429, 500, 502, 503, 504})
"""After these the same batch is the next to come; 0 = the sender saw no status."""
_LONGEST_WAIT_SECONDS = 3600.0


@dataclass(kw_only=True)
class SinkKnobs:
    """What may be changed at any moment."""

    layout: Layout = "envelope"
    """Only `envelope` is looked into; of the others just the lines are checked."""
    authorization: str = ""
    """The Authorization header that must come; else 401."""
    max_batch_bytes: int | None = None
    """Larger batches (before compression) are refused with 413."""
    poison: bytes = b""
    """Batches that hold these bytes are refused with 400."""
    accepted_status: int = 200
    read_bytes_per_second: float | None = None
    """A sink behind a thin line."""
    directory: Path | None = None
    """Also append the lines to `directory/source/stream.ndjson`."""
    keep_records: bool = True
    discard: bool = False
    """Count bytes and look at nothing: for the benchmark."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One record that the sink holds."""

    id: str
    event: bytes
    batch: str
    """Idempotency-Key under which it came."""


@dataclass(slots=True)
class BatchSeen:
    """What the sink knows of a key."""

    digest: bytes
    number: int
    """Batches that came before it for the first time."""
    arrivals: int = 0
    is_stored: bool = False


class NdjsonSink(Served):
    """Stores each batch once per key, in order of arrival.

    `counters`: `posts`, `bytes`, `batch_bytes` (decompressed), `batches`, `records`, `redeliveries`, `status 200`, …
    """

    commands: ClassVar[frozenset[str]] = frozenset({"clear"})
    """Methods that another process may call by the control endpoint."""

    def __init__(self, knobs: SinkKnobs | None = None) -> None:
        super().__init__(self.handle)
        self.knobs = knobs or SinkKnobs()
        self.records: dict[Feed, list[Delivered]] = {}
        self.batches: dict[str, BatchSeen] = {}
        self._waits = Waits()
        self._in_flight: Counter[Feed] = Counter()
        self._owed: dict[Feed, str] = {}

    def clear(self) -> None:
        """Forget every batch and record; counters and violations stay."""
        self.records.clear()
        self.batches.clear()
        self._owed.clear()

    def meet_anew(self) -> None:
        """The sender died and comes back: it does not know what its predecessor was told to wait."""
        self._waits.forget()

    def delivered(self, source: str, stream: str) -> list[Delivered]:
        """The records of a stream in order of arrival."""
        return self.records.get((source, stream), [])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one POST; whoever asks with HEAD is told whether batches would be taken from him."""
        if request.method == "HEAD":
            return web.Response(status=200 if self._knows(request.headers) else 401)
        self.counters["posts"] += 1
        if self.knobs.discard:
            return await self._discard(request)
        call = await Call.read(request, anyio.current_time(), await self._read_slowly(request))
        self.counters["bytes"] += len(call.body)
        wire = Wire(request, gzip=False, now=time.time)
        posted = read_post(call, self.knobs.layout)
        self._in_flight[posted.feed] += 1
        try:
            self._inspect(call, posted)
            fault = self.faults.take(call)
            return await (fault or Fault()).send(wire, self._answer(call, posted, fault))
        finally:
            self._in_flight[posted.feed] -= 1
            self._account(posted, wire.status)

    async def _discard(self, request: web.BaseRequest) -> web.StreamResponse:
        async for chunk in request.content.iter_any():
            self.counters["bytes"] += len(chunk)
        return web.Response(status=self.knobs.accepted_status)

    async def _read_slowly(self, request: web.BaseRequest) -> bytes | None:
        """The body at the pace of a thin line; None = read it the ordinary way."""
        rate = self.knobs.read_bytes_per_second
        if rate is None:
            return None
        parts = []
        while part := await request.content.read(max(1, int(rate / 10))):
            parts.append(part)
            await anyio.sleep(len(part) / rate)
        return b"".join(parts)

    def _inspect(self, call: Call, posted: Posted) -> None:
        """Note what the sender does wrong with this batch and with its place among the others."""
        complaints = list(posted.complaints)
        seen = self.batches.setdefault(posted.key, BatchSeen(posted.digest, len(self.batches)))
        seen.arrivals += 1
        if seen.digest != posted.digest:
            complaints.append("the same Idempotency-Key with other bytes")
        if self._in_flight[posted.feed] > 1:
            complaints.append("two batches of one stream at the same time: their order is lost")
        owed = self._owed.get(posted.feed)
        # What came before it may come again: a sender that died begins with what it had not noted as delivered.
        if owed is not None and seen.number > self.batches[owed].number:
            complaints.append(f"overtook the batch {owed}, which is still to be delivered")
        early = self._waits.complaint("", call.at)
        if early:
            complaints.append(early)
        feed = "/".join(posted.feed)
        self.violations += [f"batch {posted.key} of {feed}: {complaint}" for complaint in complaints]

    def _answer(self, call: Call, posted: Posted, fault: Fault | None) -> Answer:
        answer = Answer()
        if fault is None or fault.vendor_acts:
            answer = Answer(self._verdict(call, posted))
            if answer.status == self.knobs.accepted_status:
                self._store(posted)
        answer = fault.alter(answer) if fault else answer
        told = answer.values("Retry-After")
        if told and told[0].isdecimal():
            self._waits.tell("", anyio.current_time(), min(float(told[0]), _LONGEST_WAIT_SECONDS))
        return answer

    def _verdict(self, call: Call, posted: Posted) -> int:
        """The status that this batch earns."""
        if call.method != "POST":
            return 405
        if not self._knows(call.headers):
            return 401
        if self.knobs.max_batch_bytes is not None and len(posted.text) > self.knobs.max_batch_bytes:
            return 413
        if not posted.lines or not posted.key or (self.knobs.poison and self.knobs.poison in posted.text):
            return 400
        return self.knobs.accepted_status

    def _knows(self, headers: Mapping[str, str]) -> bool:
        return not self.knobs.authorization or headers.get("Authorization") == self.knobs.authorization

    def _store(self, posted: Posted) -> None:
        seen = self.batches[posted.key]
        if seen.is_stored:
            self.counters["redeliveries"] += 1
            return
        seen.is_stored = True
        self.counters["batches"] += 1
        self.counters["batch_bytes"] += len(posted.text)
        self.counters["records"] += len(posted.lines)
        if self.knobs.keep_records:
            kept = self.records.setdefault(posted.feed, [])
            kept += [Delivered(line.id, line.event, posted.key) for line in posted.lines]
        if self.knobs.directory is not None:
            _append(self.knobs.directory, posted)

    def _account(self, posted: Posted, status: int) -> None:
        self.counters[f"status {status}"] += 1
        if status in _TRIED_AGAIN:
            self._owed.setdefault(posted.feed, posted.key)
        elif self._owed.get(posted.feed) == posted.key:
            del self._owed[posted.feed]


def _append(directory: Path, posted: Posted) -> None:
    # Names come from a configuration file: nothing in them may lead out of the directory.
    source, stream = (quote(name, safe=" ").replace(".", "%2E") or "unnamed" for name in posted.feed)
    file = directory / source / f"{stream}.ndjson"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream_file:
        stream_file.write(posted.text)
