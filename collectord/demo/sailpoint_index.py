"""The search index: events that can be found some time after they were created, filtered, sorted, paged (A3-A7)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from random import Random

from collectord.demo.sailpoint_query import LAST, Key, Row, Search

RETENTION_MS = 395 * 86_400_000
"""A year and the current month; older events are not found."""


class Index:
    """All events of the tenant, by time and id."""

    def __init__(self, seed: int) -> None:
        self.rows: list[Row] = []
        self._random = Random(seed)

    def add(self, row: Row) -> None:
        """A new event."""
        insort(self.rows, row, key=lambda stored: stored.place)

    def found(self, search: Search, now_ms: int) -> list[Row]:
        """Every row that can be found by now and that the filters let pass, in order, behind the search's place."""
        oldest = max(now_ms - RETENTION_MS, search.lower_ms)
        if search.sort == (("created", False), ("id", False)):
            return [*self._from_place(search, oldest, now_ms)]
        rows = [row for row in self._visible(oldest, now_ms) if search.matches(row)]
        self._random.shuffle(rows)  # equal rows have no order, nor has a search without a sort
        for column, descending in reversed(search.sort):
            rows.sort(key=lambda row, column=column: _value(row, column), reverse=descending)  # type: ignore[misc]
        if search.after is None:
            return rows
        return [row for row in rows if _is_behind(row, search)]

    def count(self, search: Search, now_ms: int) -> int:
        """How many there are, wherever a page begins."""
        oldest = max(now_ms - RETENTION_MS, search.lower_ms)
        return sum(1 for row in self._visible(oldest, now_ms) if search.matches(row))

    def _from_place(self, search: Search, oldest: int, now_ms: int) -> Iterator[Row]:
        place = None if search.after is None else (search.after[0], (0, search.after[1]))
        rows = self._visible(oldest, now_ms, place)
        found = (row for row in rows if search.matches(row) and (place is None or row.place > place))
        return islice(found, search.offset + search.limit)

    def _visible(self, oldest: int, now_ms: int, place: tuple[int, Key] | None = None) -> Iterator[Row]:
        first = max((oldest, (0, "")), place or (0, (0, "")))
        begin = bisect_left(self.rows, first, key=lambda row: row.place)
        return (row for row in islice(self.rows, begin, None) if row.visible <= now_ms)


def _value(row: Row, column: str) -> Key:
    value = row.created if column == "created" else row.id if column == "id" else row.document.get(column)
    return LAST if value is None else (0, value)


def _is_behind(row: Row, search: Search) -> bool:
    assert search.after is not None
    for (column, descending), wanted in zip(search.sort, search.after, strict=True):
        value = _value(row, column)
        if value != (0, wanted):
            return (value < (0, wanted)) if descending else (value > (0, wanted))
    return False
