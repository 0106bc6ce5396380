"""Fakes of our own contracts: a vendor's stream and a sink that do what a script says."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio

from collectord import layouts
from collectord.errors import BatchRejected, BatchTooLarge
from collectord.outbox import Acceptance, Entry, Outbox, StreamKey
from collectord.records import Batch, Cursor, Metadata, Page, Record
from collectord.sink import Outcome
from collectord.store import Store

METADATA = Metadata(collector="soc-1", source="okta-prod", category=None, stream="events", receipt_ms=1788220802000)
KEY = StreamKey("okta-prod", "events")


class ScriptedStream:
    """A log of numbered records; a fetch gives those behind the cursor, or raises what the script holds."""

    def __init__(self, name: str = "", *, page_size: int = 3, seconds: float = 0.0) -> None:
        self.log: list[bytes] = []
        self.script: deque[Exception] = deque()
        self.cursors: list[Cursor | None] = []
        """What each fetch was asked for."""
        self.seconds = seconds
        self._name = name
        self._page_size = page_size

    def issue(self, number: int, *, filler: int = 0) -> None:
        """Let the vendor log so many more records."""
        for _ in range(number):
            self.log.append(b'{"id":"%s%d","x":"%s"}' % (self._name.encode(), len(self.log), b"x" * filler))

    async def fetch(self, cursor: Cursor | None) -> Page:
        self.cursors.append(cursor)
        await anyio.sleep(self.seconds)
        if self.script:
            raise self.script.popleft()
        start = 0 if cursor is None else cursor["at"]
        chosen = self.log[start : start + self._page_size]
        end = start + len(chosen)
        records = [Record(raw, f"{self._name}{start + number}", start + number) for number, raw in enumerate(chosen)]
        return Page(records, {"at": end}, more=end < len(self.log))

    async def probe(self) -> str:
        return "the script may be read"


class RecordingSink:
    """Stores what it takes; each send has the next outcome of the script.

    An outcome is None (taken), an error (refused), a pair of True and an error (taken, and the answer lost), or a
    function that judges the batch record by record.
    """

    def __init__(self, *, max_bytes: int = 200, layout: layouts.Layout = "raw", seconds: float = 0.0) -> None:
        self.sent: list[Batch] = []
        """Every attempt, in order."""
        self.stored: list[Batch] = []
        """Every attempt that was taken, in order; one that came twice is there twice."""
        self.script: deque[Exception | tuple[bool, Exception] | Callable[[Batch], Outcome] | None] = deque()
        self.largest: int | None = None
        """Batches of more bytes are too large."""
        self.poison: bytes | None = None
        """Batches that hold it are rejected."""
        self.seconds = seconds
        self.in_flight = 0
        self._max_bytes = max_bytes
        self._layout = layout

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        return layouts.batches(self._layout, records, metadata, max_bytes=self._max_bytes, compress=False)

    async def send(self, batch: Batch) -> Outcome | None:
        self.sent.append(batch)
        self.in_flight += 1
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        outcome = self.script.popleft() if self.script else self._verdict(batch)
        if outcome is None:
            self.stored.append(batch)
        elif isinstance(outcome, tuple):
            self.stored.append(batch)
            raise outcome[1]
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            return outcome(batch)
        return None

    def _verdict(self, batch: Batch) -> Exception | None:
        if self.largest is not None and len(batch.body) > self.largest:
            return BatchTooLarge("too large", code=413)
        if self.poison is not None and self.poison in batch.lines():
            return BatchRejected("poison", code=400)
        return None

    async def check(self) -> str:
        return "the sink answers"

    @property
    def lines(self) -> list[bytes]:
        """What is stored, line by line."""
        return [line for batch in self.stored for line in batch.lines().splitlines()]


def batch(*lines: bytes, compress: bool = False) -> Batch:
    """A batch of these lines."""
    return Batch.finish(b"".join(line + b"\n" for line in lines), len(lines), compress=compress)


def acceptance(at: int, *batches: Batch, key: StreamKey = KEY, sink: str = "default") -> Acceptance:
    """A page whose cursor is `at`."""
    return Acceptance(key, {"at": at}, {sink: batches} if batches else {})


@asynccontextmanager
async def open_outbox(directory: Path, limit: int = 2**30) -> AsyncIterator[Outbox]:
    """The outbox of a state directory, loaded; its store is closed at the end."""
    with closing(Store.open(directory)) as store:
        outbox = Outbox(store)
        await outbox.load()
        for sink in ("default", "second"):
            outbox.limit(sink, limit)
        yield outbox


async def everything(outbox: Outbox, sink: str = "default") -> list[Entry]:
    """All that waits for a sink, read from disk lane by lane."""
    found = []
    for source, _ in await outbox.attach(sink, ignore):
        after = 0
        while entries := await outbox.waiting(sink, source, after, 100_000):
            found += entries
            after = entries[-1].seq
    outbox.detach(sink)
    return found


ignore: Callable[[list[Entry]], None] = lambda _: None
