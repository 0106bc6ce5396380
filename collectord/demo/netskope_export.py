"""Netskope's data export as it is stored and read: rows by time of insertion, and the iterators of its consumers.

Rules: okta-netskope.md 2.2. An iterator belongs to an endpoint and a name that the client chose, and its place is kept
here: `next` moves it, `resend` gives the last page again.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

HOUR_MS = 3_600_000

Position = tuple[int, int]
"""Milliseconds of insertion and sequence number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record and when it became visible."""

    insert_ms: int
    seq: int
    time_ms: int
    """The record's own time."""
    key: str
    """What the oracle knows it by."""
    body: bytes

    @property
    def position(self) -> Position:
        return self.insert_ms, self.seq


@dataclass(slots=True)
class Index:
    """One consumer's iterator on one endpoint."""

    at: Position
    since_ms: int = 0
    """Records older than this, by their own time, are behind the epoch."""
    hwm_ms: int | None = None
    page: list[Row] = field(default_factory=list)
    """The last page sent: what `resend` gives."""
    was_lost: bool = False
    """The last page cannot have arrived: to ask for the next one loses it."""


class Export:
    """All rows of one endpoint."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._seq = 0
        self._served_to: Position = (0, 0)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    @property
    def served_ms(self) -> int:
        """How far any reader has come."""
        return self._served_to[0]

    def add(self, row: Row) -> None:
        """Make a row visible; ValueError when a reader has already gone past its time, which never happens there."""
        if row.position <= self._served_to:
            raise ValueError(f"inserted at {row.insert_ms}, but readers were served up to {self._served_to[0]}")
        insort(self.rows, row, key=lambda stored: stored.position)

    def advance(self, index: Index, now_ms: int, limit: int, *, hour_batches: bool) -> None:
        """Move an iterator by one page, which is then its `page`."""
        end_ms = index.at[0] + HOUR_MS if hour_batches else now_ms + 1
        page = list(islice(self._visible(index, now_ms, end_ms), limit))
        if page:
            index.at, index.hwm_ms = page[-1].position, page[-1].insert_ms
        if len(page) < limit and end_ms <= now_ms:  # this hour is done, the next page begins behind it
            index.at, index.hwm_ms = (end_ms, 0), end_ms
        index.page = page
        self._served_to = max(self._served_to, index.at) if index.at[0] <= now_ms else self._served_to

    def newest(self, now_ms: int, limit: int) -> list[Row]:
        return [row for row in self.rows if row.insert_ms <= now_ms][-limit:]

    def _visible(self, index: Index, now_ms: int, end_ms: int) -> Iterable[Row]:
        first = bisect_right(self.rows, index.at, key=lambda row: row.position)
        for row in islice(self.rows, first, None):
            if row.insert_ms > now_ms or row.insert_ms >= end_ms:
                return
            if row.time_ms >= index.since_ms:
                yield row
