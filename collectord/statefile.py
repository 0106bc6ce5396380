"""The state store's file and what lies beside it: opened, migrated, and salvaged when it is damaged.

In the state directory: `state.lock` (held while we live), `state.db` with its `-wal` and `-shm`, `ballast` (space to be
given up so that an acknowledgement can be written on a full disk), `cursors.backup.json` (the outbox's), and
`corrupt-<time>`: what was damaged, put aside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from itertools import count
from typing import TYPE_CHECKING, Any

from collectord.errors import StoreFull, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

APPLICATION_ID = 0x436F6C64
BALLAST_BYTES = 8 * 2**20

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE checkpoint(
        source TEXT NOT NULL, stream TEXT NOT NULL, cursor TEXT, crc INTEGER NOT NULL,
        saved_ms INTEGER NOT NULL, PRIMARY KEY (source, stream)) STRICT, WITHOUT ROWID;
    CREATE TABLE batch(
        seq INTEGER PRIMARY KEY, sink TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL, id TEXT NOT NULL,
        count INTEGER NOT NULL, encoding TEXT NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE INDEX lane ON batch(sink, source, seq);
    CREATE TABLE seen(
        source TEXT NOT NULL, stream TEXT NOT NULL, page INTEGER NOT NULL, newest_ms INTEGER NOT NULL,
        crc INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY (source, stream, newest_ms, page)) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letter(
        id TEXT PRIMARY KEY, sink TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL, count INTEGER NOT NULL,
        code INTEGER, reason TEXT NOT NULL, created_ms INTEGER NOT NULL, encoding TEXT NOT NULL, crc INTEGER NOT NULL,
        body BLOB NOT NULL) STRICT;
    CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE health_event(
        id TEXT PRIMARY KEY, opened_ms INTEGER NOT NULL, closed_ms INTEGER, event TEXT NOT NULL,
        crc INTEGER NOT NULL) STRICT;
    CREATE TABLE kept_source(name TEXT PRIMARY KEY, revision TEXT NOT NULL, sealed BLOB NOT NULL) STRICT;
    CREATE TABLE paused(source TEXT PRIMARY KEY) STRICT;
    """,
)
"""Numbered forward steps, each in one transaction; `user_version` counts those that were taken."""

EVERY_STREAM = ("*", "*")
"""The key in `checkpoint` that says of every stream without a row of its own that its place may have been lost."""

_SALVAGE = (
    ("batch", ""),
    ("batch", "ORDER BY seq DESC"),  # what lies behind the damage
    ("seen", ""),
    ("dead_letter", ""),
    ("source", ""),
    ("health_event", ""),
    ("kept_source", ""),
    ("paused", ""),
)


def lock(directory: Path) -> int:
    """Make the directory if need be, and the lock in it ours; returns the descriptor that holds it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "state.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"state directory {directory}: {error.strerror}; give collectord its own writable folder"
        raise StoreUnusable(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        message = f"state directory {directory} is in use by another collectord; stop it or choose another directory"
        raise StoreUnusable(message) from None
    return descriptor


def make_ballast(directory: Path) -> bool:
    """Whether the ballast is there now; where space is short it is not made."""
    path = directory / "ballast"
    try:
        if path.exists() and path.stat().st_size == BALLAST_BYTES:
            return True
        space = os.statvfs(directory)
        if space.f_bavail * space.f_frsize < 2 * BALLAST_BYTES:
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def primary_code(error: Exception) -> int | None:
    """SQLite's result code; None where it was another that failed."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_full(error: Exception) -> bool:
    """Whether there was no space left."""
    code = getattr(error, "sqlite_errorcode", None)
    # The index of the write-ahead log is the one file whose growth SQLite reports in another way.
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def open_file(directory: Path, migrations: Sequence[str]) -> tuple[sqlite3.Connection, Path | None]:
    """The connection, and where a damaged file was put; see `Store.open`."""
    ballast = directory / "ballast"
    try:
        try:
            return _open_or_salvage(directory, migrations)
        except sqlite3.Error as error:
            if not is_full(error) or not ballast.exists():
                raise
        ballast.unlink()  # what waits is to be delivered, above all when the disk is full
        return _open_or_salvage(directory, migrations)
    except sqlite3.Error as error:
        if is_full(error):
            raise StoreFull(f"the disk of {directory} is full; free some space", info=str(error)) from error
        raise StoreUnusable(f"{directory / 'state.db'}: {error}; check the disk and who owns the file") from error
    except OSError as error:
        raise StoreUnusable(f"state directory {directory}: {error.strerror}; check it by hand") from error


def _open_or_salvage(directory: Path, migrations: Sequence[str]) -> tuple[sqlite3.Connection, Path | None]:
    path = directory / "state.db"
    salvaged = directory / "state.db.salvaged"
    if salvaged.exists() and not path.exists():  # the process ended while the last step was taken
        salvaged.rename(path)
    if not _has_vanished(directory):
        try:
            return _open_sound(path, migrations), None
        except sqlite3.DatabaseError as error:
            if primary_code(error) not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
        except UnicodeDecodeError:  # a damaged name in SQLite's own words about the damage
            pass
    _salvage(path, salvaged, migrations)
    quarantine = _new_folder(directory, time.strftime("corrupt-%Y%m%dT%H%M%SZ", time.gmtime()))
    for name in ("state.db-shm", "state.db-wal", "state.db"):  # the log first: it must never meet another database
        if (directory / name).exists():
            (directory / name).rename(quarantine / name)
    salvaged.rename(path)
    return _open_sound(path, migrations), quarantine


def _has_vanished(directory: Path) -> bool:
    """Whether there was a store once, and now its file is gone or empty: SQLite would take that for a new one."""

    def size(name: str) -> int:
        return (directory / name).stat().st_size if (directory / name).exists() else 0

    return not size("state.db") and bool(size("cursors.backup.json") or size("state.db-wal"))


def _new_folder(directory: Path, name: str) -> Path:
    for number in count():
        folder = directory / (f"{name}-{number}" if number else name)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder
    raise AssertionError  # there is always one more number


def _open_sound(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its log is as private as the file is
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        prepare(path, connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path, connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """See whether the file is ours and sound, and bring it up to date."""
    _check_ours(path, connection, len(migrations))
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
    # A damaged text is read all the same: the checksum tells, and one row must not make a table unreadable.
    connection.text_factory = _read_text
    problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise _damaged(problem)
    _migrate(path, connection, migrations)


def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _damaged(problem: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(problem)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _check_ours(path: Path, connection: sqlite3.Connection, newest: int) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise StoreUnusable(f"{path} is a database of another program; choose another state directory")
    if version > newest:
        raise StoreUnusable(f"{path} was written by a newer collectord (version {version}); install that one again")


def _migrate(path: Path, connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(migrations):
        backup = path.with_name(f"state.db.v{version}.bak")
        backup.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(backup),))
        backup.chmod(0o600)
    for number, step in enumerate(migrations[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _salvage(damaged: Path, salvaged: Path, migrations: Sequence[str]) -> None:
    """Make a store of what can be read of a damaged one.

    Saved places are not among it: they are ahead of the batches that cannot be read. The outbox knows older ones.
    """
    for suffix in ("", "-wal", "-shm"):
        salvaged.with_name(salvaged.name + suffix).unlink(missing_ok=True)
    connection = _open_sound(salvaged, migrations)
    try:
        connection.execute("BEGIN")
        _copy_readable(damaged, connection)
        connection.execute("INSERT INTO checkpoint VALUES (?,?,NULL,0,0)", EVERY_STREAM)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _copy_readable(damaged: Path, connection: sqlite3.Connection) -> None:
    # Row by row, as far as the damage lets us; whoever reads a row looks at its checksum.
    try:
        source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return
    source.text_factory = _read_text
    with contextlib.closing(source):
        source.execute("PRAGMA writable_schema = ON")  # a damaged index must not hide the tables
        for table, order in _SALVAGE:
            for row in _readable(source, f"SELECT * FROM {table} {order}"):  # noqa: S608  names from above
                _copy(connection, table, row)


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        yield from source.execute(query)


def _copy(connection: sqlite3.Connection, table: str, row: tuple[Any, ...]) -> None:
    try:
        connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
    except sqlite3.Error as error:
        if is_full(error):
            raise
