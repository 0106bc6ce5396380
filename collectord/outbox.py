"""The heart of the promise: batches, cursor and seen ids of a page are kept in one transaction, until acknowledged.

A page is accepted when all of it is on disk; only then may the stream go on. A batch leaves when its sink has answered
2xx. A crash at any point sends the same bytes with the same key again.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio import to_thread
from isal.isal_zlib import crc32

from collectord.errors import StoreError
from collectord.records import Batch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from collectord.errors import CollectordError
    from collectord.records import Cursor
    from collectord.store import Store


class StreamKey(NamedTuple):
    """A stream of a source; the identity that a checkpoint belongs to."""

    source: str
    stream: str


class Entry(NamedTuple):
    """A batch in the outbox."""

    seq: int
    sink: str
    key: StreamKey
    batch: Batch


@dataclass(slots=True)
class Backlog:
    """What waits to be delivered."""

    records: int = 0
    size: int = 0

    def add(self, batch: Batch) -> None:
        """Count a batch in."""
        self.records += batch.count
        self.size += len(batch.body)

    def remove(self, batch: Batch) -> None:
        """Count a batch out."""
        self.records -= batch.count
        self.size -= len(batch.body)


@dataclass(frozen=True, slots=True)
class SeenPage:
    """The ids of one page's records, and the time of the newest of them."""

    newest_ms: int
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All that is kept of one page."""

    key: StreamKey
    cursor: Cursor
    batches: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    """By sink."""
    seen: SeenPage | None = None
    forget_seen_before_ms: int = 0


class Outbox:
    """Batches that wait, checkpoints, and the ids remembered; one for the whole daemon."""

    def __init__(self, store: Store) -> None:
        self.limits: dict[str, int] = {}
        """Bytes that may wait for each sink."""
        self.by_sink: defaultdict[str, Backlog] = defaultdict(Backlog)
        self.by_stream: defaultdict[StreamKey, Backlog] = defaultdict(Backlog)
        self.delivered: defaultdict[StreamKey, int] = defaultdict(int)
        """Records acknowledged since the start, counted once for each sink."""
        self.dead_letters: defaultdict[str, int] = defaultdict(int)
        """Records that a sink refused, by sink."""
        self._store = store
        self._offers: dict[str, Callable[[list[Entry]], None]] = {}
        self._room = anyio.Event()
        self._next_seq = 1
        self._next_page = time.time_ns()
        self._cursors: dict[StreamKey, str] = {}
        self._acknowledged: dict[StreamKey, str] = {}
        self._backup_due = False

    async def load(self) -> None:
        """Count what waits on disk, and restore what a damaged store lost."""
        rows, cursors, last, dead = await self._store.read(_load)
        self.dead_letters.update(dead)
        self._next_seq = last + 1
        for sink, source, stream, records, size in rows:
            for backlog in (self.by_sink[sink], self.by_stream[StreamKey(source, stream)]):
                backlog.records += records
                backlog.size += size
        saved = await to_thread.run_sync(self._read_backup)
        self._cursors = {
            StreamKey(source, stream): cursor for source, stream, cursor, crc in cursors if _crc(cursor) == crc
        }
        if self._store.quarantined is not None:
            self._cursors = saved | self._cursors
            for key, text in self._cursors.items():
                await self._store.write(partial(_save_cursor, key=key, text=text))
        waiting = {StreamKey(source, stream) for _, source, stream, _, _ in rows}
        self._acknowledged = saved | {key: text for key, text in self._cursors.items() if key not in waiting}

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

        return await self._store.write(identify)

    def checkpoint(self, key: StreamKey) -> Cursor | None:
        """The saved place of a stream; None: nothing was ever collected."""
        text = self._cursors.get(key)
        return None if text is None else json.loads(text)

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
        return [SeenPage(newest, ids.decode().split("\n")) for newest, crc, ids in rows if crc32(ids) == crc]

    async def room(self, sinks: Sequence[str]) -> None:
        """Wait until each of these sinks may have more waiting for it."""
        while any(self._is_full(sink, 0) for sink in sinks):
            await self._room.wait()

    def full(self, sinks: Sequence[str]) -> list[str]:
        """Those of `sinks` that polling has to wait for."""
        return [sink for sink in sinks if self._is_full(sink, 0)]

    def _is_full(self, sink: str, coming: int) -> bool:
        waiting = self.by_sink[sink].size
        return waiting > 0 and waiting + coming >= self.limits.get(sink, 0)

    async def accept(self, page: Acceptance) -> None:
        """Keep a page: when this returns, it is on disk. Waits while it would pass a sink's limit.

        Raises StoreError; then nothing of the page was kept, and the same cursor may be fetched again.
        """
        sizes = {sink: sum(len(batch.body) for batch in batches) for sink, batches in page.batches.items()}
        while any(self._is_full(sink, size) for sink, size in sizes.items() if size):
            await self._room.wait()
        text = json.dumps(page.cursor, separators=(",", ":"))
        self._count_in(page)  # before the commit, so that two pages cannot pass the limit together
        try:
            entries = await self._store.write(lambda connection: self._accept(connection, page, text))
        except StoreError:
            self._count_out(page.key, [(sink, batch) for sink, batches in page.batches.items() for batch in batches])
            raise
        self._cursors[page.key] = text
        self._note_acknowledged(page.key)
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
        _insert(connection, page, entries)
        _save_cursor(connection, page.key, text)
        if page.seen is not None:
            _remember(connection, page, self._next_page)
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
        self._room.set()
        self._room = anyio.Event()

    async def waiting(self, sink: str, source: str, after: int, limit_bytes: int) -> list[Entry]:
        """Read what waits on disk for a lane, oldest first, from sequence number `after` on, at least one entry if any.

        A batch whose checksum is wrong is put among the dead letters and left out.
        """
        rows = await self._store.read(lambda connection: _waiting(connection, sink, source, after, limit_bytes))
        entries = []
        for seq, stream, batch_id, count, encoding, crc, body in rows:
            entry = Entry(seq, sink, StreamKey(source, stream), Batch(batch_id, count, body, encoding))
            if crc32(body) == crc:
                entries.append(entry)
            else:
                await self.bury(entry, entry.batch, StoreError("the batch was damaged on disk: its checksum is wrong"))
                await self.acknowledge(entry)
        return entries

    async def acknowledge(self, entry: Entry) -> None:
        """Forget a batch that its sink has."""
        await self._store.write(
            lambda connection: connection.execute("DELETE FROM batch WHERE seq = ?", (entry.seq,)), frees_space=True
        )
        self._count_out(entry.key, [(entry.sink, entry.batch)])
        self.delivered[entry.key] += entry.batch.count
        self._note_acknowledged(entry.key)

    async def bury(self, entry: Entry, batch: Batch, reason: CollectordError) -> None:
        """Put a batch that the sink refuses for good among the dead letters; burying it twice is burying it once."""
        said = f"{reason.message}: {reason.info}" if reason.info else reason.message
        now = time.time_ns() // 1_000_000
        row = (batch.id, entry.sink, *entry.key, reason.code, said, now, batch.encoding, batch.body)
        insert = "INSERT OR IGNORE INTO dead_letter VALUES (?,?,?,?,?,?,?,?,?)"
        self.dead_letters[entry.sink] += await self._store.write(
            lambda connection: connection.execute(insert, row).rowcount
        )

    def _note_acknowledged(self, key: StreamKey) -> None:
        if self.by_stream[key].records == 0 and key in self._cursors:
            self._acknowledged[key] = self._cursors[key]
            self._backup_due = True

    async def back_up(self) -> None:
        """Write the cursors up to which everything was delivered beside the store, if they changed.

        From these a damaged store starts again: with duplicates, never with a gap. Raises OSError, and then tries again
        when called again.
        """
        if not self._backup_due:
            return
        cursors = [[*key, text] for key, text in self._acknowledged.items()]
        self._backup_due = False
        try:
            await to_thread.run_sync(self._write_backup, cursors)
        except OSError:
            self._backup_due = True
            raise

    def _write_backup(self, cursors: list[list[str]]) -> None:
        path = self._store.directory / "cursors.backup.json"
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(cursors, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _read_backup(self) -> dict[StreamKey, str]:
        path = self._store.directory / "cursors.backup.json"
        try:
            return {StreamKey(source, stream): cursor for source, stream, cursor in json.loads(path.read_bytes())}
        except (OSError, ValueError):
            return {}


def _crc(text: str) -> int:
    return crc32(text.encode())


def _load(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[str, str, str, int, int]], list[tuple[str, str, str, int]], int, list[tuple[str, int]]]:
    rows = connection.execute(
        "SELECT sink, source, stream, sum(count), sum(length(body)) FROM batch GROUP BY sink, source, stream"
    ).fetchall()
    cursors = connection.execute("SELECT source, stream, cursor, crc FROM checkpoint").fetchall()
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
    dead = connection.execute("SELECT sink, count(*) FROM dead_letter GROUP BY sink").fetchall()
    return rows, cursors, last, dead


def _insert(connection: sqlite3.Connection, page: Acceptance, entries: list[Entry]) -> None:
    connection.executemany(
        "INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?)",
        (
            (seq, sink, *page.key, batch.id, batch.count, batch.encoding, crc32(batch.body), batch.body)
            for seq, sink, _, batch in entries
        ),
    )


def _remember(connection: sqlite3.Connection, page: Acceptance, number: int) -> None:
    assert page.seen is not None
    ids = "\n".join(page.seen.ids).encode("utf-8", "replace")
    connection.execute(
        "INSERT INTO seen VALUES (?,?,?,?,?,?)", (*page.key, number, page.seen.newest_ms, crc32(ids), ids)
    )
    connection.execute(
        "DELETE FROM seen WHERE source = ? AND stream = ? AND newest_ms < ?", (*page.key, page.forget_seen_before_ms)
    )


def _save_cursor(connection: sqlite3.Connection, key: StreamKey, text: str) -> None:
    row = (*key, text, _crc(text), time.time_ns() // 1_000_000)
    connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?,?,?,?,?)", row)


def _waiting(
    connection: sqlite3.Connection, sink: str, source: str, after: int, limit_bytes: int
) -> list[tuple[int, str, str, int, str, int, bytes]]:
    rows = []
    size = 0
    for row in connection.execute(
        "SELECT seq, stream, id, count, encoding, crc, body FROM batch"
        " WHERE sink = ? AND source = ? AND seq > ? ORDER BY seq",
        (sink, source, after),
    ):
        rows.append(row)
        size += len(row[-1])
        if size >= limit_bytes:
            break
    return rows
