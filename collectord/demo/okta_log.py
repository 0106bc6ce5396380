"""Okta's System Log as it is stored and read: by persistence time when polled, by `published` when bounded.

Rules: okta-netskope.md 1.2 [OKQ]. Polling is complete and ordered by the time of commit; a bounded query goes by the
event's own time and does not see what is committed late.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

DAY_MS = 86_400_000
RETENTION_MS = 90 * DAY_MS
"""Older events are not returned, and the request succeeds all the same."""

Position = tuple[int, int]
"""Milliseconds and sequence number; what a cursor stands for."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event and when it was committed."""

    persist_ms: int
    seq: int
    published_ms: int
    key: str
    """What the oracle knows it by: its uuid, or a digest if it has none."""
    event_type: str
    body: bytes

    @property
    def persisted(self) -> Position:
        return self.persist_ms, self.seq

    @property
    def published(self) -> Position:
        return self.published_ms, self.seq


class SystemLog:
    """All events of the tenant."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self._seq = 0
        self._served_to: Position = (0, 0)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def add(self, event: StoredEvent) -> None:
        """Commit an event; ValueError when polling has already gone past its time, which Okta never lets happen."""
        if event.persisted <= self._served_to:
            raise ValueError(f"committed at {event.persist_ms}, but polling was served up to {self._served_to[0]}")
        insort(self.events, event, key=lambda stored: stored.persisted)

    def polled(
        self, after: Position, now_ms: int, limit: int, matches: Callable[[StoredEvent], bool]
    ) -> list[StoredEvent]:
        """The next events in order of commit."""
        first = bisect_right(self.events, after, key=lambda stored: stored.persisted)
        oldest_ms = now_ms - RETENTION_MS
        visible = (
            event
            for event in islice(self.events, first, None)
            if oldest_ms <= event.persist_ms <= now_ms and matches(event)
        )
        page = list(islice(visible, limit))
        if page:
            self._served_to = max(self._served_to, page[-1].persisted)
        return page

    def bounded(
        self, window: Iterable[int], now_ms: int, committed_by_ms: int, matches: Callable[[StoredEvent], bool]
    ) -> list[StoredEvent]:
        """All events of a window `(since_ms, until_ms)` in order of `published`, as far as they are committed."""
        since_ms, until_ms = window
        oldest_ms = max(since_ms, now_ms - RETENTION_MS)
        found = (
            event
            for event in self.events
            if oldest_ms <= event.published_ms < until_ms and event.persist_ms <= committed_by_ms and matches(event)
        )
        return sorted(found, key=lambda event: event.published)
