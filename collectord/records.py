"""The data that flows: records as slices of the received page, the page, and the finished batch.

A record is never parsed to be passed on. A page is split into slices (`msgspec.Raw`), and only the few fields that the
envelope needs are decoded beside it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from isal import igzip, isal_zlib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cursor = dict[str, Any]
"""Opaque JSON that says where to go on; only the stream that made it reads it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ID_CHARACTERS = 32  # of a batch as it was finished; its parts' ids begin with them
_GZIP_LEVEL = 1  # isal's level 1: a tenth of zlib 6's time for 9 % more bytes


class Repaired(bytes):
    """A vendor's object that was no JSON as it came, and now is; whoever changes such a record keeps the type."""

    __slots__ = ()


RESTORED = "restored"
"""Key of a cursor that is older than what was collected: its store was damaged. Where a vendor's server keeps the
position, it may be further on than such a cursor says."""


class Record(msgspec.Struct, gc=False):
    """One vendor object, as received."""

    raw: bytes | msgspec.Raw
    id: str
    """The record's own identity: the same object in the same version has the same id in every run."""
    time_ms: int | None = None
    """The record's own time, milliseconds since 1970 UTC."""
    event_id: str | None = None
    """What goes into `_siemEventID`; None leaves the key out."""

    @property
    def repaired(self) -> bool:
        """Whether something in it had to be replaced; delivered as `_repaired`."""
        return isinstance(self.raw, Repaired)


class Notice(NamedTuple):
    """Something an operator should know although collecting goes on: a health event of severity Warning."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one fetch returned."""

    records: list[Record]
    cursor: Cursor
    """To be saved in the same transaction as the records, and given to the next fetch."""
    more: bool = False
    """The vendor has more now: fetch again without waiting for the interval."""
    not_before_seconds: float = 0.0
    """The vendor's own wait before the next request of this stream."""
    complete_to_ms: int | None = None
    """Everything up to this time has been collected; None: derived from `more` and the records."""
    overlaps: bool = False
    """These records may have been collected before: those whose id is remembered are left out."""
    remember_from_ms: int | None = None
    """Remember the ids of this page, and forget those of records older than this; None: no id is remembered."""
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """What stands beside each record of one source and stream (INTERFACE section 4)."""

    collector: str
    source: str
    category: str | None
    stream: str
    receipt_ms: int
    siem: Mapping[str, str] = field(default_factory=dict)
    """`_siemVendor`, `_siemProduct`, `_siemFormat`; empty when not forwarded to a SIEM."""
    data_type: str | None = None
    """`_siemDataType`; None as well when not forwarded."""
    fields: Mapping[str, str] = field(default_factory=dict)
    source_type: str = ""
    """As `schemaRef.type` has it; empty: nobody's source, collectord itself reports."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one delivery, finished: the bytes that go out, however often they must."""

    id: str
    """The Idempotency-Key."""
    count: int
    body: bytes
    encoding: str = "identity"
    """`gzip` or `identity`: how `body` is encoded."""

    @classmethod
    def finish(cls, lines: bytes, count: int, *, compress: bool) -> Batch:
        """Make a batch of `count` records from their lines."""
        if compress:
            return cls(_new_id(), count, _gzip(lines), "gzip")
        return cls(_new_id(), count, lines)

    def lines(self) -> bytes:
        """The body as the sink reads it, decompressed."""
        return igzip.decompress(self.body) if self.encoding == "gzip" else self.body

    def begins_with(self, text: bytes) -> bool:
        """Whether its lines do; the rest of them stays compressed."""
        if self.encoding != "gzip":
            return self.body.startswith(text)
        beginning: bytes = isal_zlib.decompressobj(wbits=31).decompress(self.body, max_length=len(text))
        return beginning == text

    def split(self) -> tuple[Batch, Batch]:
        """Halve a batch of two or more records.

        The halves depend on nothing but the batch, ids included: split again after a crash, they are the same batches
        with the same keys.
        """
        lines = self.lines().split(b"\n")[:-1]
        middle = self.count // 2
        cut = len(lines) // self.count * middle
        return self._part("a", lines[:cut], middle), self._part("b", lines[cut:], self.count - middle)

    def picks(self, *parts: Sequence[int]) -> list[Batch]:
        """For each part the batch that holds the records at these positions, in order.

        Its id depends on the records picked alone, not on the parts that they were picked from on the way.
        """
        lines = self.lines().split(b"\n")[:-1]
        size = len(lines) // self.count
        made = []
        for positions in parts:
            picked = [line for at in positions for line in lines[at * size : (at + 1) * size]]
            name = f"{self.id[:_ID_CHARACTERS]}-{digest(b' '.join(picked))}"
            made.append(replace(self._part("", picked, len(positions)), id=name))
        return made

    def rewritten(self, lines: bytes) -> Batch:
        """The same batch with these lines, encoded as it was."""
        return replace(self, body=_gzip(lines) if self.encoding == "gzip" else lines)

    def _part(self, name: str, lines: list[bytes], count: int) -> Batch:
        return replace(self.rewritten(b"\n".join(lines) + b"\n"), id=f"{self.id}{name}", count=count)


def _new_id() -> str:
    # Like a UUID of version 4, without a system call for each; nobody has to fail at guessing it.
    return f"{random.getrandbits(128):032x}"


def _gzip(data: bytes) -> bytes:
    # No time in the header: the same lines must give the same bytes whenever they are compressed.
    return igzip.compress(data, _GZIP_LEVEL, mtime=0)


def digest(raw: bytes | msgspec.Raw) -> str:
    """Identity of a record that has none of its own: the same content has the same digest."""
    return blake2b(raw, digest_size=16).hexdigest()


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970; a time without a zone is UTC, as all four vendors mean it."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def parse_time(text: object) -> int | None:
    """Milliseconds of a vendor's timestamp, read leniently; None when it cannot be read."""
    if isinstance(text, str):
        try:
            return milliseconds(datetime.fromisoformat(text.strip()))
        except (ValueError, OverflowError):
            return None
    return None


def iso_time(ms: int) -> str:
    """A time as vendors read it, e.g. `2026-09-01T00:00:00.000Z`."""
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")
