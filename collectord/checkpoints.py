"""Saved places: where each stream goes on, kept in the state store, and once more in a file beside it.

The file holds the places up to which everything was delivered. From these a damaged store starts again: with
duplicates, never with a gap. A place that is in neither is lost: its stream does not begin anew by itself, but says so.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from anyio import to_thread
from isal.isal_zlib import crc32

from collectord.records import RESTORED
from collectord.statefile import EVERY_STREAM

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from collectord.store import Store

FILE = "cursors.backup.json"


class StreamKey(NamedTuple):
    """A stream of a source; the identity that a checkpoint belongs to."""

    source: str
    stream: str


EVERY = StreamKey(*EVERY_STREAM)


class Checkpoints:
    """The saved places of all streams, as JSON texts."""

    def __init__(self, store: Store) -> None:
        self.restored: list[StreamKey] = []
        """Streams whose place was damaged, and was taken from the file at this start."""
        self._store = store
        self._texts: dict[StreamKey, str] = {}
        self._lost: set[StreamKey] = set()
        self._delivered: dict[StreamKey, str] = {}
        self._backup_due = True

    async def load(self, waiting: Collection[StreamKey]) -> None:
        """Read all places; those that are damaged or missing are restored. `waiting`: streams with a backlog."""
        rows = await self._store.read(_select)
        damaged = [crc for source, stream, text, crc in rows if _crc(source, stream, text) != crc]
        good = {StreamKey(source, stream): text for source, stream, text, crc in rows if crc not in damaged}
        saved = await to_thread.run_sync(_read_backup, self._store.directory / FILE)
        missing = {key: _as_restored(text) for key, text in (saved or {}).items() if key not in good}
        if damaged and saved is None:
            missing[EVERY] = None
        if damaged or missing:
            await self._store.write(lambda connection: _repair(connection, damaged, missing), urgent=True)
        self.restored = [key for key, text in missing.items() if text is not None]
        good |= missing
        self._texts = {key: text for key, text in good.items() if text is not None}
        self._lost = good.keys() - self._texts.keys()
        self._delivered = {key: text for key, text in (saved or {}).items() if text is not None}
        self._delivered |= {key: text for key, text in self._texts.items() if key not in waiting}

    def text(self, key: StreamKey) -> str | None:
        """The saved place of a stream; None: there is none."""
        return self._texts.get(key)

    def is_lost(self, key: StreamKey) -> bool:
        """Whether something was collected once, and nobody knows any more up to where."""
        return key in self._lost or (EVERY in self._lost and key not in self._texts)

    def note_saved(self, key: StreamKey, text: str) -> None:
        """Hear that a place is in the store."""
        if key not in self._texts:
            self._backup_due = True  # the file lists every stream that there is
        self._texts[key] = text
        self._lost.discard(key)

    def note_delivered(self, key: StreamKey) -> None:
        """Hear that everything up to a stream's saved place was delivered."""
        text = self._texts.get(key)
        if text is not None and self._delivered.get(key) != text:
            self._delivered[key] = text
            self._backup_due = True

    async def back_up(self) -> None:
        """Write the file if it is not up to date. Raises OSError, and then tries again when called again."""
        if not self._backup_due:
            return
        places = {key: self._delivered.get(key) for key in [*self._texts, *self._lost]}
        self._backup_due = False
        try:
            await to_thread.run_sync(_write_backup, self._store.directory / FILE, places)
        except OSError:
            self._backup_due = True
            raise


def _as_restored(text: str | None) -> str | None:
    cursor = None if text is None else json.loads(text)
    return json.dumps({**cursor, RESTORED: True}, separators=(",", ":")) if cursor else text


def save(connection: sqlite3.Connection, key: StreamKey, text: str | None) -> None:
    """Save a place; None: it is lost."""
    row = (*key, text, _crc(*key, text), time.time_ns() // 1_000_000)
    connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?,?,?,?,?)", row)


def _crc(source: str, stream: str, text: str | None) -> int:
    return crc32(json.dumps([source, stream, text]).encode())


def _select(connection: sqlite3.Connection) -> list[tuple[str, str, str | None, int]]:
    return connection.execute("SELECT source, stream, cursor, crc FROM checkpoint").fetchall()


def _repair(connection: sqlite3.Connection, damaged: Iterable[int], missing: Mapping[StreamKey, str | None]) -> None:
    # By their checksums: their names may be no names any more.
    connection.executemany("DELETE FROM checkpoint WHERE crc = ?", [(crc,) for crc in damaged])
    for key, text in missing.items():
        save(connection, key, text)
        # A restored place is an old one: no rest that began with it goes on.
        connection.execute("UPDATE checkpoint SET saved_ms = 0 WHERE source = ? AND stream = ?", key)


def _write_backup(path: Path, places: Mapping[StreamKey, str | None]) -> None:
    cursors = [[*key, text] for key, text in places.items()]
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"crc": crc32(json.dumps(cursors).encode()), "cursors": cursors}, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _read_backup(path: Path) -> dict[StreamKey, str | None] | None:
    """What the file holds; None when there is none that can be trusted."""
    try:
        content = json.loads(path.read_bytes())
        cursors = content["cursors"]
        if crc32(json.dumps(cursors).encode()) != content["crc"]:
            return None
        return {StreamKey(source, stream): text for source, stream, text in cursors}
    except (OSError, ValueError, TypeError, KeyError):
        return None
