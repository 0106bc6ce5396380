"""The parameters of `GET /api/v1/logs`, checked as Okta checks them (okta-netskope.md 1.2 [OAS][OKQ])."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from collectord.demo.okta_errors import OktaError
from collectord.demo.okta_filter import Expression, comparisons, log_filter
from collectord.demo.okta_log import DAY_MS, StoredEvent

KNOWN = frozenset({"since", "until", "after", "filter", "q", "limit", "sortOrder"})
_OLDEST_SINCE_MS = 180 * DAY_MS
_DEFAULT_REACH_MS = 7 * DAY_MS
_MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class LogQuery:
    """One query of the System Log."""

    since_ms: int
    until_ms: int
    limit: int
    ascending: bool
    is_polling: bool
    """No `until`, ascending: ordered by commit, complete, endless."""
    matches: Callable[[StoredEvent], bool]


def read_query(parameters: Mapping[str, str], now_ms: int) -> LogQuery:
    """Parameters to a query; OktaError with Okta's code for what Okta refuses."""
    until_ms = _time("until", parameters["until"]) if "until" in parameters else now_ms
    since_ms = _time("since", parameters["since"]) if "since" in parameters else until_ms - _DEFAULT_REACH_MS
    if since_ms < now_ms - _OLDEST_SINCE_MS:
        raise OktaError(400, "E0000053", "Invalid filter: since is more than 180 days ago")
    order = parameters.get("sortOrder", "ASCENDING")
    if order not in {"ASCENDING", "DESCENDING"}:
        raise OktaError(400, "E0000001", "Api validation failed: sortOrder")
    return LogQuery(
        since_ms=since_ms,
        until_ms=until_ms,
        limit=read_limit(parameters.get("limit", "100"), _MAX_LIMIT),
        ascending=order == "ASCENDING",
        is_polling="until" not in parameters and order == "ASCENDING",
        matches=_matcher(parameters),
    )


def read_limit(text: str, largest: int) -> int:
    if not text.isdecimal() or int(text) > largest:
        raise OktaError(400, "E0000001", f"Api validation failed: limit must be 0..{largest}")
    return int(text)


def _time(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise OktaError(400, "E0000053", f"Invalid filter: {name} is no RFC 3339 time") from error
    if moment.tzinfo is None or "T" not in text:
        raise OktaError(400, "E0000053", f"Invalid filter: {name} is no RFC 3339 time")
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _matcher(parameters: Mapping[str, str]) -> Callable[[StoredEvent], bool]:
    expression = log_filter(parameters["filter"]) if "filter" in parameters else None
    words = _keywords(parameters["q"]) if "q" in parameters else []
    if expression is None and not words:
        return lambda _: True

    def matches(event: StoredEvent) -> bool:
        return (expression is None or _fits(expression, event)) and all(
            word in event.body.decode(errors="replace").lower() for word in words
        )

    return matches


def _fits(expression: Expression, event: StoredEvent) -> bool:
    if all(comparison.attribute == "eventType" for comparison in comparisons(expression)):
        return expression.matches({"eventType": event.event_type})
    try:
        return expression.matches(orjson.loads(event.body))
    except orjson.JSONDecodeError:
        return False


def _keywords(text: str) -> list[str]:
    words = text.lower().split()
    if len(words) > 10 or any(len(word) > 40 for word in words):
        raise OktaError(400, "E0000001", "Api validation failed: q takes 10 keywords of 40 characters")
    return words
