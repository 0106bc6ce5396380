"""Dead letters: records that a sink refused for good, to be looked at, delivered once more, or dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from isal import isal_zlib

from collectord.backlog import Entry, checksum_of
from collectord.health import iso
from collectord.outbox import StreamKey
from collectord.records import Batch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from collectord.outbox import Outbox
    from collectord.store import Store

MAX_LISTED = 1000
_ABOUT = "id, sink, source, stream, count, code, reason, created_ms, length(body)"
_SELECT_ALL = f"SELECT {_ABOUT} FROM dead_letter ORDER BY created_ms, id LIMIT ?"  # noqa: S608  fixed text
_SELECT_ONE = f"SELECT {_ABOUT}, encoding, crc, body FROM dead_letter WHERE id = ?"  # noqa: S608  fixed text


class Damaged(Exception):
    """The bytes are not those that were refused: they can be dropped, and nothing else."""


class DeadLetter(NamedTuple):
    """One refused batch, and why."""

    about: Mapping[str, Any]
    """As the API shows it, without its records."""
    key: StreamKey
    batch: Batch
    crc: int


class DeadLetters:
    """All of them, in the state store."""

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def listed(self) -> list[dict[str, Any]]:
        """The oldest, without their records."""
        rows = await self._store.read(lambda connection: connection.execute(_SELECT_ALL, (MAX_LISTED,)).fetchall())
        return [_about(row) for row in rows]

    async def get(self, id_: str) -> DeadLetter:
        """One with its records; raises KeyError."""
        row = await self._store.read(lambda connection: connection.execute(_SELECT_ONE, (id_,)).fetchone())
        if row is None:
            raise KeyError(id_)
        *about, encoding, crc, body = row
        shown = _about(about)
        key = StreamKey(shown["source"], shown["stream"])
        return DeadLetter(shown, key, Batch(id_, shown["records"], body, encoding), crc)

    async def records(self, id_: str) -> tuple[Mapping[str, Any], list[str]]:
        """One as the API shows it, and its records as text; raises KeyError, or Damaged when they cannot be read."""
        letter = await self.get(id_)
        try:
            lines = letter.batch.lines()
        except (OSError, EOFError, isal_zlib.error):  # type: ignore[misc]  # its stub does not say that it is one
            raise Damaged from None
        return letter.about, lines.decode("utf-8", "replace").splitlines()

    async def retry(self, id_: str) -> None:
        """Let it wait for its sink once more, under the same key; raises KeyError, or Damaged."""
        letter = await self.get(id_)
        sink = letter.about["sink"]
        if checksum_of(Entry(0, sink, letter.key, letter.batch), letter.batch) != letter.crc:
            raise Damaged
        if not await self._outbox.put_back(sink, letter.key, letter.batch, lambda connection: _delete(connection, id_)):
            raise KeyError(id_)  # somebody else was quicker
        self._outbox.count_unburied(sink, letter.batch)

    async def drop(self, id_: str) -> None:
        """Forget it for good; raises KeyError."""
        letter = await self.get(id_)
        if not await self._store.write(lambda connection: _delete(connection, id_), urgent=True):
            raise KeyError(id_)
        self._outbox.count_unburied(letter.about["sink"], letter.batch)


def _about(row: Any) -> dict[str, Any]:
    id_, sink, source, stream, count, code, reason, created_ms, size = row
    return {
        "id": id_,
        "sink": sink,
        "source": source,
        "stream": stream,
        "records": count,
        "bytes": size,
        "code": code,
        "reason": reason,
        "refused_at": iso(created_ms),
    }


def _delete(connection: sqlite3.Connection, id_: str) -> bool:
    return connection.execute("DELETE FROM dead_letter WHERE id = ?", (id_,)).rowcount == 1
