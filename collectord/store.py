"""The state store: one SQLite file, one connection, and every write durable when it returns.

`synchronous=FULL`, because `NORMAL` loses committed rows on power loss. One connection, because SQLite before
3.51.3 can corrupt a WAL that two connections write. Writes that wait for each other share one transaction and so one fsync.

Files in the state directory: `state.lock` (held while we live), `state.db` with its `-wal` and `-shm`, `ballast` (space
to be given up so that an acknowledgement can be written on a full disk), `cursors.backup.json` (the outbox's).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio import to_thread

from collectord.errors import StoreError, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

APPLICATION_ID = 0x436F6C64
BALLAST_BYTES = 8 * 2**20
_SLACK_PAGES = 4096  # free pages kept for the next backlog before they are given back to the disk

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE checkpoint(
        source TEXT NOT NULL, stream TEXT NOT NULL, cursor TEXT NOT NULL, crc INTEGER NOT NULL,
        saved_ms INTEGER NOT NULL, PRIMARY KEY (source, stream)) STRICT, WITHOUT ROWID;
    CREATE TABLE batch(
        seq INTEGER PRIMARY KEY, sink TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL, id TEXT NOT NULL,
        count INTEGER NOT NULL, encoding TEXT NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE INDEX lane ON batch(sink, source, seq);
    CREATE TABLE seen(
        source TEXT NOT NULL, stream TEXT NOT NULL, page INTEGER NOT NULL, newest_ms INTEGER NOT NULL,
        crc INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY (source, stream, page)) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letter(
        id TEXT PRIMARY KEY, sink TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL, code INTEGER,
        reason TEXT NOT NULL, created_ms INTEGER NOT NULL, encoding TEXT NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE health_event(
        id TEXT PRIMARY KEY, opened_ms INTEGER NOT NULL, closed_ms INTEGER, event TEXT NOT NULL) STRICT;
    """,
)
"""Numbered forward steps, each in one transaction; `user_version` counts those that were taken."""


class _Write(Generic[T]):
    """One operation that waits for its commit."""

    __slots__ = ("error", "frees_space", "operation", "result")

    def __init__(self, operation: Callable[[sqlite3.Connection], T], *, frees_space: bool) -> None:
        self.operation = operation
        self.frees_space = frees_space
        self.result: Any = _PENDING
        self.error: BaseException | None = None


_PENDING = object()


class StoreFull(StoreError):
    """There is no space left on the disk."""


class Store:
    """The open state store. `open` and `close` block; everything else is for the event loop."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, lock: int, quarantined: Path | None) -> None:
        self.directory = directory
        self.quarantined = quarantined
        """Where a damaged store was moved at this start; None: the store was sound."""
        self.broken = anyio.Event()
        """Set when the disk failed: nothing can be kept any more, the process must start anew."""
        self._connection = connection
        self._lock_file = lock
        self._turn = anyio.Lock()
        self._one_thread = anyio.CapacityLimiter(1)
        self._waiting: list[_Write[Any]] = []

    @classmethod
    def open(cls, directory: Path) -> Store:
        """Lock, check and migrate; a damaged file is put aside and what is readable of it copied.

        Raises StoreUnusable: locked by another process, newer than this program, not ours, or not writable.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(directory)
            _make_ballast(directory)
        except OSError as error:
            raise StoreUnusable(
                f"state directory {directory}: {error.strerror}; give collectord its own writable folder"
            ) from error
        try:
            connection, quarantined = _open_or_salvage(directory)
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, connection, lock, quarantined)

    def close(self) -> None:
        """Close the file and give up the lock; safe to call twice."""
        if self._lock_file >= 0:
            self._connection.close()
            os.close(self._lock_file)
            self._lock_file = -1

    async def write(self, operation: Callable[[sqlite3.Connection], T], *, frees_space: bool = False) -> T:
        """Run `operation` in a transaction of its own or shared with others that wait; returns after the commit.

        A write is never cut: cancellation waits for it, so that what the caller notes down after it is true.
        `frees_space` may use the ballast when the disk is full. Raises StoreError; then nothing of it was kept.
        """
        write = _Write(operation, frees_space=frees_space)
        self._waiting.append(write)
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if write.result is _PENDING and write.error is None:
                    batch, self._waiting = self._waiting, []
                    await to_thread.run_sync(self._commit, batch, limiter=self._one_thread)
        if write.error is not None:
            raise write.error
        return write.result  # type: ignore[no-any-return]  # set by _commit

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run a reading `operation` on the one connection, in its turn."""
        return await self.write(operation)

    def _commit(self, writes: list[_Write[Any]]) -> None:
        if len(writes) > 1 and self._try(writes):
            return
        for write in writes:
            if not self._try([write]) and write.frees_space and isinstance(write.error, StoreFull):
                self._use_ballast()
                self._try([write])

    def _try(self, writes: list[_Write[Any]]) -> bool:
        if self.broken.is_set():
            error: StoreError = StoreUnusable("the state store failed earlier; collectord must be started anew")
        else:
            try:
                results = self._transaction(writes)
            except Exception as cause:  # noqa: BLE001  it belongs to the operation's caller
                error = cause if isinstance(cause, StoreError) else self._translate(cause)
            else:
                for write, result in zip(writes, results, strict=True):
                    write.result, write.error = result, None
                return True
        for write in writes:
            write.error = error
        return False

    def _transaction(self, writes: list[_Write[Any]]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [write.operation(self._connection) for write in writes]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results

    def _translate(self, cause: Exception) -> StoreError:
        code = getattr(cause, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_FULL:
            error: StoreError = StoreFull("the disk of the state directory is full; free some space", info=str(cause))
        elif primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            # After a failed fsync nobody knows what is on disk; the only honest next step is to open the file anew.
            self.broken.set()
            error = StoreUnusable("the disk of the state directory failed", info=str(cause))
        else:
            error = StoreError("the state store could not be written", info=f"{type(cause).__name__}: {cause}")
        error.__cause__ = cause
        return error

    def _use_ballast(self) -> None:
        (self.directory / "ballast").unlink(missing_ok=True)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def tidy(self) -> None:
        """Give pages that a past backlog left free back to the disk, and make the ballast anew where there is room."""
        async with self._turn:
            await to_thread.run_sync(self._tidy, limiter=self._one_thread)

    def _tidy(self) -> None:
        if self.broken.is_set():
            return
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if free > _SLACK_PAGES:
            self._connection.execute(f"PRAGMA incremental_vacuum({free - _SLACK_PAGES})").fetchall()
        _make_ballast(self.directory)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "state.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        message = f"state directory {directory} is in use by another collectord; stop it or choose another directory"
        raise StoreUnusable(message) from None
    return descriptor


def _make_ballast(directory: Path) -> None:
    path = directory / "ballast"
    if path.exists():
        return
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < 2 * BALLAST_BYTES:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # before the first table; a drained backlog gives its space back
        "journal_mode = WAL",
        "synchronous = FULL",
        "journal_size_limit = 16777216",
        "secure_delete = FAST",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _open_or_salvage(directory: Path) -> tuple[sqlite3.Connection, Path | None]:
    path = directory / "state.db"
    try:
        return _open_sound(path), None
    except sqlite3.DatabaseError as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if primary not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StoreUnusable(f"{path}: {error}; check the disk and who owns the file") from error
    quarantine = directory / time.strftime("corrupt-%Y%m%dT%H%M%SZ", time.gmtime())
    quarantine.mkdir(mode=0o700)
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        if (directory / name).exists():
            (directory / name).rename(quarantine / name)
    connection = _open_sound(path)
    _copy_readable(quarantine / "state.db", connection)
    return connection, quarantine


def _open_sound(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        _check_ours(path, connection)
        _migrate(path, connection)
        path.chmod(0o600)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise StoreUnusable(f"{path} is a database of another program; choose another state directory")
    if version > len(MIGRATIONS):
        raise StoreUnusable(f"{path} was written by a newer collectord (version {version}); install that one again")
    problems = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problems != "ok":
        raise sqlite3.DatabaseError(problems)


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(MIGRATIONS):
        backup = path.with_name(f"state.db.v{version}.bak")
        backup.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(backup),))
        backup.chmod(0o600)
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _copy_readable(damaged: Path, connection: sqlite3.Connection) -> None:
    # Row by row, as far as the damage lets us; rows carry checksums, which the outbox checks when it reads them.
    try:
        source = sqlite3.connect(f"file:{damaged}?mode=ro", uri=True)
    except sqlite3.Error:
        return
    for table in ("checkpoint", "batch", "seen", "dead_letter", "health_event"):
        try:
            rows = source.execute(f"SELECT * FROM {table}")  # noqa: S608  names from the line above
            for row in rows:
                places = ",".join("?" * len(row))
                connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608
        except sqlite3.Error:
            continue
    source.close()
