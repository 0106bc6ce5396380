"""The state store: one SQLite file, one connection, and every write durable when it returns.

`synchronous=FULL`, because `NORMAL` loses committed rows on power loss. One connection, because SQLite before 3.51.3
can corrupt a WAL that two connections write. Writes that wait for each other share one transaction and so one fsync.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio import to_thread

from collectord.errors import StoreError, StoreFull, StoreUnusable
from collectord.statefile import MIGRATIONS, is_full, lock, make_ballast, open_file, primary_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

_SLACK_PAGES = 4096  # free pages kept for the next backlog before they are given back to the disk
_VACUUM_PAGES = 4096  # given back at a time: a tenth of a second


class _Write(Generic[T]):
    """One operation that waits for its commit."""

    __slots__ = ("done", "error", "operation", "result", "urgent")

    def __init__(self, operation: Callable[[sqlite3.Connection], T], *, urgent: bool) -> None:
        self.operation = operation
        self.urgent = urgent
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        self.done, self.error = True, error

    def succeed(self, result: T) -> None:
        self.done, self.result, self.error = True, result, None


class Store:
    """The open state store. `open` and `close` block; everything else is for the event loop."""

    def __init__(
        self, directory: Path, connection: sqlite3.Connection, descriptor: int, quarantined: Path | None = None
    ) -> None:
        self.directory = directory
        self.quarantined = quarantined
        """Where a damaged store was moved at this start; None: the store was sound."""
        self.broken = anyio.Event()
        """Set when the disk failed: nothing can be kept any more, the process must start anew."""
        self.commits = 0
        """Transactions since the start, those that only read among them."""
        self._connection = connection
        self._lock_file = descriptor
        self._turn = anyio.Lock()
        self._one_thread = anyio.CapacityLimiter(1)
        self._waiting: list[_Write[Any]] = []
        self._has_failed = False
        self._has_ballast = make_ballast(directory)

    @classmethod
    def open(cls, directory: Path, migrations: Sequence[str] = MIGRATIONS) -> Store:
        """Lock, check and migrate; a damaged file is put aside and what is readable of it copied.

        Raises StoreUnusable: locked by another process, newer than this program, not ours, or not writable; and
        StoreFull when there is not even room to begin.
        """
        descriptor = lock(directory)
        try:
            connection, quarantined = open_file(directory, migrations)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(directory, connection, descriptor, quarantined)

    @property
    def is_short(self) -> bool:
        """Whether what little space there is belongs to acknowledgements: nothing new should be kept now."""
        return not self._has_ballast

    def close(self) -> None:
        """Close the file and give up the lock; safe to call twice."""
        if self._lock_file >= 0:
            self._connection.close()
            os.close(self._lock_file)
            self._lock_file = -1

    async def write(self, operation: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Run `operation` in a transaction of its own or shared with others that wait; returns after the commit.

        A write is never cut: cancellation waits for it, so that what the caller notes down after it is true. Writes
        return in the order in which they were asked for. On a full disk an `urgent` one, small or freeing space, may
        use the ballast. Raises StoreError; then nothing of it was kept.
        """
        write = _Write(operation, urgent=urgent)
        self._waiting.append(write)
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if not write.done:
                    writes, self._waiting = self._waiting, []
                    await self._in_thread(writes)
        if write.error is not None:
            raise write.error
        return write.result  # type: ignore[no-any-return]  # what the operation returned

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run a reading `operation` on the one connection, in its turn."""
        return await self.write(operation)

    async def _in_thread(self, writes: list[_Write[Any]]) -> None:
        try:
            await to_thread.run_sync(self._commit, writes, limiter=self._one_thread)
        except Exception as cause:  # noqa: BLE001  no thread to be had: nothing was done, and each must hear of it
            for write in writes:
                write.fail(self._translate(cause))
        self._tell_if_failed()

    def _tell_if_failed(self) -> None:
        # Here and not where it happens: an event is for the loop's own thread.
        if self._has_failed:
            self.broken.set()

    def _commit(self, writes: list[_Write[Any]]) -> None:
        if len(writes) > 1 and self._try(writes):
            return
        for write in writes:
            if not self._try([write]) and write.urgent and isinstance(write.error, StoreFull):
                self._give_up_ballast()
                self._try([write])

    def _try(self, writes: list[_Write[Any]]) -> bool:
        if self._has_failed:
            error: StoreError = StoreUnusable("the state store failed earlier; collectord must be started anew")
        else:
            try:
                results = self._transaction(writes)
            except Exception as cause:  # noqa: BLE001  it belongs to the operation's caller
                error = cause if isinstance(cause, StoreError) else self._translate(cause)
            else:
                for write, result in zip(writes, results, strict=True):
                    write.succeed(result)
                return True
        for write in writes:
            write.fail(error)
        return False

    def _transaction(self, writes: list[_Write[Any]]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [write.operation(self._connection) for write in writes]
            self._connection.execute("COMMIT")
            self.commits += 1
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results

    def _translate(self, cause: Exception) -> StoreError:
        if is_full(cause):
            error: StoreError = StoreFull("the disk of the state directory is full; free some space", info=str(cause))
        elif primary_code(cause) in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            # After a failed fsync nobody knows what is on disk; the only honest next step is to open the file anew.
            self._has_failed = True
            error = StoreUnusable("the disk of the state directory failed", info=str(cause))
        else:
            error = StoreError("the state store could not be written", info=f"{type(cause).__name__}: {cause}")
        error.__cause__ = cause
        return error

    def _give_up_ballast(self) -> None:
        self._has_ballast = False
        (self.directory / "ballast").unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error):  # whoever writes next hears of it
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def tidy(self) -> None:
        """Give pages that a past backlog left free back to the disk, and make the ballast anew where there is room."""
        async with self._turn:
            await to_thread.run_sync(self._tidy, limiter=self._one_thread)
            self._tell_if_failed()

    def _tidy(self) -> None:
        if self._has_failed:
            return
        try:
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            spare = free - (_SLACK_PAGES if self._has_ballast else 0)
            if spare > 0:
                # As a script: `execute` takes the first step only, which frees one page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({min(spare, _VACUUM_PAGES)})")
            if not self._has_ballast:  # a full disk needs all that we can spare
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            self._translate(error)
        self._has_ballast = make_ballast(self.directory)
