"""The statements by which the outbox keeps and finds its rows in the state store: batches, dead letters, seen ids."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from collectord.backlog import checksum, checksum_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from collectord.backlog import Entry, SeenPage
    from collectord.checkpoints import StreamKey
    from collectord.errors import CollectordError
    from collectord.records import Batch


def load(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[str, str, str, int, int]], int, list[tuple[str, int, int]]]:
    # Summed up here: to group them, SQLite would sort the bodies themselves, in memory.
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for sink, source, stream, records, size in connection.execute(
        "SELECT sink, source, stream, count, length(body) FROM batch"
    ):
        of_lane = sums[sink, source, stream]
        of_lane[0] += records
        of_lane[1] += size
    rows = [(*lane, records, size) for lane, (records, size) in sums.items()]
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
    dead = connection.execute("SELECT sink, sum(count), sum(length(body)) FROM dead_letter GROUP BY sink").fetchall()
    return rows, last, dead


def insert(connection: sqlite3.Connection, entries: list[Entry]) -> None:
    connection.executemany(
        "INSERT INTO batch VALUES (?,?,?,?,?,?,?,?,?)",
        (
            (
                entry.seq,
                entry.sink,
                *entry.key,
                entry.batch.id,
                entry.batch.count,
                entry.batch.encoding,
                checksum_of(entry, entry.batch),
                entry.batch.body,
            )
            for entry in entries
        ),
    )


def forget(connection: sqlite3.Connection, *numbers: int) -> None:
    connection.executemany("DELETE FROM batch WHERE seq = ?", [(number,) for number in numbers])


def dead_letter_of(entry: Entry, batch: Batch, reason: CollectordError, crc: int) -> tuple[object, ...]:
    said = f"{reason.message}: {reason.info}" if reason.info else reason.message
    now = time.time_ns() // 1_000_000
    place = (batch.id, entry.sink, *entry.key, batch.count)
    return (*place, reason.code, said, now, batch.encoding, crc, batch.body)


def bury(connection: sqlite3.Connection, row: tuple[object, ...]) -> list[tuple[int, int]]:
    """Returns records and bytes of what is new among the dead letters."""
    query = "INSERT OR IGNORE INTO dead_letter VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING count, length(body)"
    return connection.execute(query, row).fetchall()


def remember(connection: sqlite3.Connection, key: StreamKey, seen: SeenPage, number: int) -> None:
    ids = _json(seen.ids)
    row = (*key, number, seen.newest_ms, checksum(ids, *key), ids)
    connection.execute("INSERT INTO seen VALUES (?,?,?,?,?,?)", row)


def _json(ids: Sequence[str]) -> bytes:
    try:
        return msgspec.json.encode(ids)
    except UnicodeEncodeError:  # of a lone surrogate, which only the standard library writes, as its escape
        return json.dumps([*ids]).encode()


def waiting(
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
