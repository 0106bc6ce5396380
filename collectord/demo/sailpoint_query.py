"""A search as it is asked for: its body and parameters, checked as SailPoint checks them (A3-A5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from collectord.demo.sailpoint_errors import ILLEGAL_VALUE, Refused

MAX_LIMIT = RESULT_WINDOW = 10_000
_MEMBERS = {
    *("indices", "queryType", "queryVersion", "query", "queryDsl", "filters", "sort", "searchAfter"),
    *("queryResultFilter", "includeNested", "aggregations", "aggregationType", "aggregationsVersion"),
}
_SORTED = {"created", "id", "name", "type", "technicalName", "action", "status"}
_RANGE = re.compile(r"(?:type:\* AND )?created:\[(\S+) TO (\S+)\]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


LAST = (1, "")
"""Stands behind all ids."""
Key = tuple[int, Any]


@dataclass(slots=True)
class Row:
    """One event as it is indexed."""

    created: int
    """Milliseconds since 1970, as all times here."""
    id: str | None
    """None: it has none, and stands behind all that have one."""
    visible: int
    """When it began to be found."""
    key: str
    """What the oracle knows it by."""
    document: dict[str, Any]
    body: bytes
    is_served: bool = False

    @property
    def place(self) -> tuple[int, Key]:
        """In the natural order."""
        return self.created, LAST if self.id is None else (0, self.id)


Filter = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Search:
    """One request for events."""

    filters: tuple[Filter, ...]
    lower_ms: int
    """Nothing that is created before it can match."""
    sort: tuple[tuple[str, bool], ...]
    """Columns, and whether each descends."""
    after: tuple[Any, ...] | None
    limit: int
    offset: int
    count: bool

    def matches(self, row: Row) -> bool:
        """Whether the filters let it pass."""
        return all(passes(row) for passes in self.filters)


def read_search(parameters: Mapping[str, str], body: bytes, index: str, now_ms: int) -> Search:
    """Parameters and body to a search; Refused for what SailPoint refuses."""
    asked = _object(body)
    if unknown := asked.keys() - _MEMBERS:
        raise Refused(400, text=f"unknown members: {', '.join(sorted(unknown))}")
    if (indices := [index] if index else asked.get("indices")) != ["events"]:
        raise Refused(400, ILLEGAL_VALUE, f"indices: {indices!r}")
    bounds = [*_of_query(asked, now_ms), *_of_filters(asked.get("filters", {}))]
    sort = tuple(_column(text) for text in asked.get("sort", ()))
    limit, offset = _number(parameters, "limit", 250), _number(parameters, "offset", 0)
    if limit > MAX_LIMIT or offset + limit > RESULT_WINDOW:
        raise Refused(400, text=f"offset {offset} and limit {limit} pass the window of {RESULT_WINDOW}")
    after = None
    if "searchAfter" in asked:
        after = _after(asked["searchAfter"], sort)
        if offset:
            raise Refused(400, text="offset and searchAfter exclude each other")
    lowest = max((lower for lower, _ in bounds), default=0)
    return Search(
        tuple(passes for _, passes in bounds),
        lowest,
        sort,
        after,
        limit,
        offset,
        parameters.get("count") == "true",
    )


def complaints(parameters: Mapping[str, str], body: bytes, *, counts: bool) -> Iterator[str]:
    """What is allowed and loses events all the same."""
    if unknown := parameters.keys() - {"limit", "offset", "count"}:
        yield f"unknown parameters: {', '.join(sorted(unknown))}"
    try:
        asked = _object(body)
    except Refused:
        yield "the body is no JSON object"
        return
    if "now" in str(asked.get("query", "")):
        yield "`now` is another time for each page"
    if not counts:
        yield from _of_paging(parameters, asked)


def _of_paging(parameters: Mapping[str, str], asked: dict[str, Any]) -> Iterator[str]:
    if "limit" not in parameters:
        yield "no limit: its default differs between SailPoint's own pages"
    if "sort" not in asked:
        yield "no sort: pages repeat and miss rows"
    if parameters.get("offset", "0") != "0":
        yield "offset misses and repeats rows, and ends at 10,000; there is searchAfter"
    created = asked.get("filters", {}).get("created", {}) if isinstance(asked.get("filters"), dict) else {}
    if created and "upper" not in created.get("range", {}):
        yield "no upper bound: events that are indexed while pages are read change them"


def milliseconds(text: object) -> int:
    """Of a bound or a place; Refused when it is no time."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise Refused(400, ILLEGAL_VALUE, "no time") from None
    if moment.tzinfo is None or "T" not in str(text):
        raise Refused(400, ILLEGAL_VALUE, "no time")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, text="the body is no JSON") from None
    if not isinstance(asked, dict):
        raise Refused(400, text="the body is no object")
    return asked


def _of_query(asked: dict[str, Any], now_ms: int) -> Iterator[tuple[int, Filter]]:
    kind = asked.get("queryType", "SAILPOINT")
    if kind == "DSL":
        bounds = asked.get("queryDsl", {}).get("range", {}).get("created")
        if bounds is None:
            raise Refused(400, ILLEGAL_VALUE, "queryDsl")
        for name, value in bounds.items():
            if name not in {"gte", "gt", "lte", "lt"}:
                raise Refused(400, ILLEGAL_VALUE, name)
            yield _bound(milliseconds(value), is_lower=name[0] == "g", inclusive=name.endswith("e"))
        return
    if kind != "SAILPOINT":
        raise Refused(400, ILLEGAL_VALUE, "queryType")
    text = asked.get("query", {}).get("query", "*")
    if text == "*":
        return
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Refused(400, ILLEGAL_VALUE, "this simulator does not understand the query")
    yield _bound(milliseconds(match[1]), is_lower=True, inclusive=True)
    end = now_ms if match[2] == "now" else milliseconds(match[2])
    yield _bound(end, is_lower=False, inclusive=True)


def _of_filters(filters: object) -> Iterator[tuple[int, Filter]]:
    if not isinstance(filters, dict):
        raise Refused(400, text="filters")
    for column, asked in filters.items():
        kind = asked.get("type")
        if kind == "RANGE" and column == "created":
            for name, bound in asked.get("range", {}).items():
                if name not in {"lower", "upper"}:
                    raise Refused(400, ILLEGAL_VALUE, name)
                inclusive = bound.get("inclusive", False)
                yield _bound(milliseconds(bound["value"]), is_lower=name == "lower", inclusive=inclusive)
        elif kind == "TERMS":
            terms, excluded = set(asked["terms"]), bool(asked.get("exclude"))
            yield (
                0,
                lambda row, column=column, terms=terms, excluded=excluded: (  # type: ignore[misc]
                    (row.document.get(column) in terms) != excluded
                ),
            )
        elif kind == "EXISTS":
            excluded = bool(asked.get("exclude"))
            yield (
                0,
                lambda row, column=column, excluded=excluded: (  # type: ignore[misc]
                    (row.document.get(column) is not None) != excluded
                ),
            )
        else:
            raise Refused(400, ILLEGAL_VALUE, f"filter {column}")


def _bound(ms: int, *, is_lower: bool, inclusive: bool) -> tuple[int, Filter]:
    if is_lower:
        return ms, (lambda row: row.created >= ms) if inclusive else (lambda row: row.created > ms)
    return 0, (lambda row: row.created <= ms) if inclusive else (lambda row: row.created < ms)


def _column(text: object) -> tuple[str, bool]:
    name = str(text).lstrip("+-")
    if name not in _SORTED:
        raise Refused(400, ILLEGAL_VALUE, f"sort: {text}")
    return name, str(text).startswith("-")


def _after(values: object, sort: tuple[tuple[str, bool], ...]) -> tuple[Any, ...]:
    if not sort:
        raise Refused(400, text="searchAfter needs a sort")
    if not isinstance(values, list) or len(values) != len(sort):
        raise Refused(400, text="searchAfter and sort differ in length")
    if not all(isinstance(value, str) for value in values):
        raise Refused(400, ILLEGAL_VALUE, "searchAfter")
    return tuple(
        milliseconds(value) if column == "created" else value for value, (column, _) in zip(values, sort, strict=True)
    )


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name, str(default))
    if not text.isdecimal():
        raise Refused(400, text=f"{name}: no number")
    return int(text)
