"""What the outbox holds: an entry, the ids of a page, the checksum that each is kept with, and how much waits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from isal.isal_zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectord.checkpoints import StreamKey
    from collectord.records import Batch


class Entry(NamedTuple):
    """A batch in the outbox."""

    seq: int
    sink: str
    key: StreamKey
    batch: Batch


@dataclass(frozen=True, slots=True)
class SeenPage:
    """The ids of one page's records, and the time of the newest of them."""

    newest_ms: int
    ids: Sequence[str]


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


def checksum(body: bytes, *columns: str | int) -> int:
    """Of a body and the columns beside it."""
    return crc32(body, crc32(json.dumps(columns).encode()))


def checksum_of(entry: Entry, batch: Batch) -> int:
    """Of a batch, or a part of one, that waits or waited as this entry."""
    return checksum(batch.body, entry.sink, *entry.key, batch.id, batch.count, batch.encoding)
