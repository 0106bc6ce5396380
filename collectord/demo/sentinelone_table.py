"""A console's rows as they are stored and listed: filtered, sorted, paged by a place in the order (B2, B3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Sortable = tuple[Any, int]
"""The sort column's value and the id: a place in the order, stable under inserts."""
RETENTION_MICROS = 365 * 86_400 * 1_000_000
"""Activities older than this are gone [RunReveal]; threats and agents stay."""


@dataclass(slots=True)
class Row:
    """One row in its present version."""

    id: str
    created: int
    """Microseconds since 1970, as all times here."""
    updated: int
    visible: int
    """When it began to be shown."""
    key: str
    """What the oracle knows this version by."""
    document: dict[str, Any]
    body: bytes
    is_served: bool = False
    """This version was given out."""
    is_required: bool = True
    """A client must deliver this version, even if it was not given out yet."""

    def value(self, column: str) -> Any:
        """What the row is sorted and filtered by."""
        if column == "id":
            return int(self.id)
        return {"createdAt": self.created, "updatedAt": self.updated}[column]


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a list."""

    bounds: tuple[tuple[str, str, int], ...]
    """Column, operator (`gt`, `gte`, `lt`, `lte`), microseconds."""
    column: str
    descending: bool
    limit: int
    skip: int = 0
    count_only: bool = False
    skip_count: bool = False
    ids: frozenset[str] | None = None

    def matches(self, row: Row) -> bool:
        """Whether the filters let it pass."""
        if self.ids is not None and row.id not in self.ids:
            return False
        return all(_compare(row.value(column), operator, bound) for column, operator, bound in self.bounds)


class Table:
    """All rows of one list."""

    def __init__(self, *, expires: bool) -> None:
        self.rows: dict[str, Row] = {}
        self._expires = expires

    def add(self, row: Row) -> None:
        """A new row."""
        self.rows[row.id] = row

    def found(self, query: Query, now: int) -> list[Row]:
        """Every row that the filters let pass, in order."""
        rows = [row for row in self._visible(now) if query.matches(row)]
        rows.sort(key=lambda row: (row.value(query.column), int(row.id)), reverse=query.descending)
        return rows

    def _visible(self, now: int) -> Iterator[Row]:
        oldest = now - RETENTION_MICROS if self._expires else 0
        return (row for row in self.rows.values() if row.visible <= now and row.created >= oldest)


def behind(rows: list[Row], query: Query, place: Sortable) -> list[Row]:
    """What comes after a place in the order."""
    if query.descending:
        return [row for row in rows if (row.value(query.column), int(row.id)) < place]
    return [row for row in rows if (row.value(query.column), int(row.id)) > place]


def _compare(value: int, operator: str, bound: int) -> bool:
    return {"gt": value > bound, "gte": value >= bound, "lt": value < bound, "lte": value <= bound}[operator]
