"""A disk that can lose power: what was not synced is dropped, kept or torn, sector by sector.

The store's own SQL runs on it, by way of a connection that looks like the standard library's.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

from collectord.statefile import MIGRATIONS, prepare
from collectord.store import Store

SECTOR = 512
_numbers = itertools.count()


@dataclass
class File:
    """What a file is on the platter, and what was written to it since."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes by offset; None: truncated there."""

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _apply(self.durable, offset, data)
        self.unsynced.clear()

    def after_power_loss(self, chance: Random) -> bytes:
        content = bytearray(self.durable)
        for offset, data in self.unsynced:
            fate = chance.choice(["kept", "kept", "lost", "torn"])
            if fate == "kept":
                _apply(content, offset, data)
            elif fate == "torn" and data is not None:
                for start in range(0, len(data), SECTOR):
                    if chance.random() < 0.5:
                        _apply(content, offset + start, data[start : start + SECTOR])
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class Disk(apsw.VFS):
    """Passes everything on to the real disk, and knows what would be left of it."""

    def __init__(self) -> None:
        self.name = f"power-{next(_numbers)}"
        self.files: dict[str, File] = {}
        self.left: dict[str, File] | None = None
        """The files as they were when the power went."""
        self._events_left: float = math.inf
        self._when_it_goes: Callable[[], None]
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _Tracked(self, name, flags)

    def lose_power(self, events: int, when_it_goes: Callable[[], None]) -> None:
        """Lose power before the so-many-th write or sync from now on; what comes after is of no account."""
        self._events_left, self._when_it_goes = events, when_it_goes

    def _count(self) -> None:
        self._events_left -= 1
        if self._events_left == 0:
            self.left = copy.deepcopy(self.files)
            self._when_it_goes()

    def note(self, path: str, offset: int, data: bytes | None) -> None:
        self._count()
        self.files.setdefault(Path(path).name, File()).unsynced.append((offset, data))

    def sync(self, path: str) -> None:
        self._count()
        self.files.setdefault(Path(path).name, File()).sync()

    def image(self, chance: Random, directory: Path) -> None:
        """Write what the power loss left."""
        assert self.left is not None
        directory.mkdir()
        for name, file in self.left.items():
            (directory / name).write_bytes(file.after_power_loss(chance))


class _Tracked(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.note(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._disk.note(self._path, newsize, None)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.sync(self._path)


class _Cursor:
    def __init__(self, cursor: apsw.Cursor, connection: apsw.Connection) -> None:
        self._cursor = cursor
        self.rowcount = connection.changes()

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Connection:
    """As much of `sqlite3.Connection` as the store and the outbox use."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.text_factory: Any = None
        self._connection = apsw.Connection(str(path), vfs=disk.name)
        self.execute("PRAGMA locking_mode = EXCLUSIVE")  # the log's index in memory: apsw has no shared memory

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, statement: str, values: Iterable[Any] = ()) -> _Cursor:
        return _Cursor(self._connection.execute(statement, tuple(values)), self._connection)

    def executemany(self, statement: str, rows: Iterable[Iterable[Any]]) -> _Cursor:
        return _Cursor(self._connection.executemany(statement, [tuple(row) for row in rows]), self._connection)

    def executescript(self, script: str) -> None:
        self._connection.execute(script).fetchall()

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def store_on(disk: Disk, directory: Path, *, synchronous: str) -> Iterator[Store]:
    """The state store on a disk that can lose power."""
    directory.mkdir()
    connection: Any = Connection(directory / "state.db", disk)
    prepare(directory / "state.db", connection, MIGRATIONS)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    store = Store(directory, connection, os.open(os.devnull, os.O_RDONLY))
    try:
        yield store
    finally:
        store.close()
