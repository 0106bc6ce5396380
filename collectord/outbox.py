"""The heart of the promise: batches, cursor and seen ids of a page are kept in one transaction, until acknowledged.

A page is accepted when all of it is on disk; only then may the stream go on. A batch leaves when its sink has answered
2xx. A crash at any point sends the same bytes with the same key again.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from collectord import statements
from collectord.backlog import Backlog, Entry, SeenPage, checksum, checksum_of
from collectord.checkpoints import Checkpoints, StreamKey, save
from collectord.errors import StoreError, StoreFull
from collectord.records import Batch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from collectord.errors import CollectordError
    from collectord.records import Cursor
    from collectord.store import Store


__all__ = ["Acceptance", "Backlog", "Entry", "Outbox", "SeenPage", "StreamKey"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All that is kept of one page."""

    key: StreamKey
    cursor: Cursor
    batches: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    """By sink."""
    seen: SeenPage | None = None
    forget_seen_before_ms: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of its batches, by sink."""
        return {sink: sum(len(batch.body) for batch in batches) for sink, batches in self.batches.items()}


class Outbox:
    """Batches that wait, checkpoints, and the ids remembered; one for the whole daemon."""

    def __init__(self, store: Store) -> None:
        self.limits: dict[str, int] = {}
        """Bytes that may wait for each sink."""
        self.by_sink: defaultdict[str, Backlog] = defaultdict(Backlog)
        self.by_stream: defaultdict[StreamKey, Backlog] = defaultdict(Backlog)
        self.delivered: defaultdict[StreamKey, int] = defaultdict(int)
        """Records acknowledged since the start, counted once for each sink."""
        self.delivered_batches: defaultdict[str, int] = defaultdict(int)
        self.delivered_bytes: defaultdict[str, int] = defaultdict(int)
        self.dead_letters: defaultdict[str, Backlog] = defaultdict(Backlog)
        """What a sink refused, by sink; a part of what may wait for it, since the disk holds both."""
        self._store = store
        self._offers: dict[str, Callable[[list[Entry]], None]] = {}
        self._room = anyio.Event()
        self._next_seq = 1
        self._next_page = time.time_ns()
        self._checkpoints = Checkpoints(store)

    async def load(self) -> None:
        """Count what waits on disk, and restore what a damaged store lost."""
        rows, last, dead = await self._store.read(statements.load)
        self.dead_letters.update({sink: Backlog(records, size) for sink, records, size in dead})
        self._next_seq = last + 1
        for sink, source, stream, records, size in rows:
            for backlog in (self.by_sink[sink], self.by_stream[StreamKey(source, stream)]):
                backlog.records += records
                backlog.size += size
        await self._checkpoints.load({StreamKey(source, stream) for _, source, stream, _, _ in rows})

    async def attach(self, sink: str, offer: Callable[[list[Entry]], None]) -> list[tuple[str, int]]:
        """Call `offer` with what is accepted for this sink from now on, at once after each commit.

        Returns the lanes that have a backlog on disk: source and the newest sequence number, nothing of it offered.
        """

        def lanes(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            query = "SELECT source, max(seq) FROM batch WHERE sink = ? GROUP BY source"
            found: list[tuple[str, int]] = connection.execute(query, (sink,)).fetchall()
            return found

        waiting = await self._store.read(lanes)
        self._offers[sink] = offer
        return waiting

    def detach(self, sink: str) -> None:
        """Stop offering to this sink; what is accepted for it waits on disk."""
        self._offers.pop(sink, None)

    async def identify(self, names: Sequence[str]) -> dict[str, int]:
        """The number of each source, the same in every run; new names get new numbers."""

        def identify(connection: sqlite3.Connection) -> dict[str, int]:
            connection.executemany("INSERT OR IGNORE INTO source(name) VALUES (?)", [(name,) for name in names])
            return {name: number for number, name in connection.execute("SELECT id, name FROM source")}

        return await self._store.write(identify, urgent=True)

    def checkpoint(self, key: StreamKey) -> Cursor | None:
        """The saved place of a stream; None: nothing was ever collected."""
        text = self._checkpoints.text(key)
        return None if text is None else json.loads(text)

    def is_lost(self, key: StreamKey) -> bool:
        """Whether a stream's saved place was lost with a damaged store: it must not begin anew without being told."""
        return self._checkpoints.is_lost(key)

    @property
    def restored(self) -> list[StreamKey]:
        """Streams whose saved place was damaged, and is an older one since this start."""
        return self._checkpoints.restored

    async def set_checkpoint(self, key: StreamKey, cursor: Cursor | None) -> None:
        """Let a stream go on elsewhere, None: from its beginning; its collector must not run. Forgets the ids seen."""
        text = json.dumps(cursor, separators=(",", ":"))

        def set_checkpoint(connection: sqlite3.Connection) -> None:
            save(connection, key, text)
            connection.execute("DELETE FROM seen WHERE source = ? AND stream = ?", key)

        await self._store.write(set_checkpoint, urgent=True)
        self._checkpoints.note_saved(key, text)
        self._checkpoints.note_delivered(key)

    async def saved_ms(self, key: StreamKey) -> int:
        """When the saved place of a stream was last written; 0: never."""
        query = "SELECT saved_ms FROM checkpoint WHERE source = ? AND stream = ?"
        row = await self._store.read(lambda connection: connection.execute(query, key).fetchone())
        return int(row[0]) if row else 0

    async def seen(self, key: StreamKey) -> list[SeenPage]:
        """The ids remembered for a stream, oldest page first; damaged rows are left out: at worst a duplicate."""
        rows = await self._store.read(
            lambda connection: connection.execute(
                "SELECT newest_ms, crc, ids FROM seen WHERE source = ? AND stream = ? ORDER BY page", key
            ).fetchall()
        )
        return [SeenPage(newest, json.loads(ids)) for newest, crc, ids in rows if checksum(ids, *key) == crc]

    def limit(self, sink: str, size: int | None) -> None:
        """Let so many bytes wait for a sink; None: the sink is gone, and nobody waits for it to have room."""
        self.limits[sink] = sys.maxsize if size is None else size
        self._look_again()

    async def room(self, coming: Mapping[str, int]) -> None:
        """Wait until each sink may have so many bytes more waiting for it."""
        while self.full(coming):
            await self._room.wait()

    def full(self, coming: Mapping[str, int]) -> list[str]:
        """Those sinks that have no room for so many bytes more."""
        return [sink for sink, size in coming.items() if self._is_full(sink, size)]

    def _is_full(self, sink: str, coming: int) -> bool:
        waiting = self.by_sink[sink].size + self.dead_letters[sink].size
        return waiting > 0 and waiting + coming >= self.limits.get(sink, 0)

    def _look_again(self) -> None:
        self._room.set()
        self._room = anyio.Event()

    async def accept(self, page: Acceptance) -> None:
        """Keep a page: when this returns, it is on disk. Waits while it would pass a sink's limit.

        Raises StoreError; then nothing of the page was kept, and the same cursor may be fetched again.
        """
        sizes = page.sizes
        if sizes and self._store.is_short:
            raise StoreFull("the disk of the state directory is almost full; free some space")
        await self.room({sink: size for sink, size in sizes.items() if size})
        text = json.dumps(page.cursor, separators=(",", ":"))
        self._count_in(page)  # before the commit, so that two pages cannot pass the limit together
        try:
            entries = await self._store.write(lambda connection: self._accept(connection, page, text))
        except StoreError:
            self._count_out(page.key, [(sink, batch) for sink, batches in page.batches.items() for batch in batches])
            raise
        self._checkpoints.note_saved(page.key, text)
        self._note_delivered(page.key)
        for sink in page.batches:
            if sink in self._offers and (offered := [entry for entry in entries if entry.sink == sink]):
                self._offers[sink](offered)

    def _accept(self, connection: sqlite3.Connection, page: Acceptance, text: str) -> list[Entry]:
        # Numbered in here: writes run one after another, so sequence numbers are in the order of their commits.
        entries = []
        for sink, batches in page.batches.items():
            for batch in batches:
                entries.append(Entry(self._next_seq, sink, page.key, batch))
                self._next_seq += 1
        self._next_page += 1
        statements.insert(connection, entries)
        save(connection, page.key, text)
        if page.seen is not None:
            statements.remember(connection, page.key, page.seen, self._next_page)
        if page.forget_seen_before_ms:
            query = "DELETE FROM seen WHERE source = ? AND stream = ? AND newest_ms < ?"
            connection.execute(query, (*page.key, page.forget_seen_before_ms))
        return entries

    def _count_in(self, page: Acceptance) -> None:
        for sink, batches in page.batches.items():
            for batch in batches:
                self.by_sink[sink].add(batch)
                self.by_stream[page.key].add(batch)

    def _count_out(self, key: StreamKey, batches: Sequence[tuple[str, Batch]]) -> None:
        for sink, batch in batches:
            self.by_sink[sink].remove(batch)
            self.by_stream[key].remove(batch)
        self._look_again()

    async def waiting(self, sink: str, source: str, after: int, limit_bytes: int) -> list[Entry]:
        """Read what waits on disk for a lane, oldest first, behind sequence number `after`; at least one entry if any.

        A batch whose checksum is wrong goes to the dead letters instead.
        """
        while rows := await self._store.read(
            lambda connection: statements.waiting(connection, sink, source, after, limit_bytes)
        ):
            entries = []
            for seq, stream, batch_id, count, encoding, crc, body in rows:
                entry = Entry(seq, sink, StreamKey(source, stream), Batch(batch_id, count, body, encoding))
                if checksum_of(entry, entry.batch) == crc:
                    entries.append(entry)
                else:
                    await self._bury_damaged(entry, crc)
            if entries:
                return entries
        return []

    async def acknowledge(self, *numbers: int) -> None:
        """Forget the entries of these numbers, which a sink has, in one commit; a crash before delivers them again."""
        await self._store.write(lambda connection: statements.forget(connection, *numbers), urgent=True)

    def count_delivered(self, entry: Entry, *, buried: int = 0) -> None:
        """Hear that a sink has a batch, but for the records of it that were `buried`; `acknowledge` it soon."""
        self._waits_no_more(entry)
        self.delivered[entry.key] += entry.batch.count - buried
        self.delivered_batches[entry.sink] += 1
        self.delivered_bytes[entry.sink] += len(entry.batch.body)

    async def bury(self, entry: Entry, parts: Sequence[tuple[Batch, CollectordError]]) -> None:
        """Put parts of an entry that its sink refuses for good among the dead letters; twice is once."""
        rows = [statements.dead_letter_of(entry, batch, reason, checksum_of(entry, batch)) for batch, reason in parts]

        def bury(connection: sqlite3.Connection) -> list[tuple[int, int]]:
            return [new for row in rows for new in statements.bury(connection, row)]

        self._count_buried(entry.sink, await self._store.write(bury, urgent=True))

    async def put_back(
        self, sink: str, key: StreamKey, batch: Batch, remove: Callable[[sqlite3.Connection], bool]
    ) -> bool:
        """Let a dead letter wait once more, in one transaction with its removal; False: it was removed already."""

        def put_back(connection: sqlite3.Connection) -> Entry | None:
            if not remove(connection):
                return None
            entry = Entry(self._next_seq, sink, key, batch)
            self._next_seq += 1
            statements.insert(connection, [entry])
            return entry

        entry = await self._store.write(put_back)
        if entry is None:
            return False
        self.by_sink[sink].add(batch)
        self.by_stream[key].add(batch)
        if sink in self._offers:
            self._offers[sink]([entry])
        return True

    async def _bury_damaged(self, entry: Entry, crc: int) -> None:
        damaged = StoreError("the batch was damaged on disk: its checksum is wrong")
        row = statements.dead_letter_of(entry, entry.batch, damaged, crc)

        def bury(connection: sqlite3.Connection) -> list[tuple[int, int]]:
            statements.forget(connection, entry.seq)
            return statements.bury(connection, row)

        self._count_buried(entry.sink, await self._store.write(bury, urgent=True))
        self._waits_no_more(entry)

    def _count_buried(self, sink: str, new: Sequence[tuple[int, int]]) -> None:
        for records, size in new:
            self.dead_letters[sink].records += records
            self.dead_letters[sink].size += size

    def count_unburied(self, sink: str, batch: Batch) -> None:
        """Hear that a dead letter is none any more."""
        self.dead_letters[sink].remove(batch)
        self._look_again()

    def _waits_no_more(self, entry: Entry) -> None:
        self._count_out(entry.key, [(entry.sink, entry.batch)])
        self._note_delivered(entry.key)

    def _note_delivered(self, key: StreamKey) -> None:
        if self.by_stream[key].records == 0:
            self._checkpoints.note_delivered(key)

    async def back_up(self) -> None:
        """Write the places up to which everything was delivered beside the store; see `Checkpoints.back_up`."""
        await self._checkpoints.back_up()
