"""The parameters of the lists, checked as SentinelOne checks them, and its errors (sailpoint-sentinelone.md B2, B8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import orjson

from collectord.demo.exchange import Answer
from collectord.demo.sentinelone_knobs import ACTIVITIES, AGENTS, THREATS
from collectord.demo.sentinelone_table import Query

_COMMON = {"limit", "cursor", "skip", "skipCount", "countOnly", "sortBy", "sortOrder", "ids", "siteIds", "accountIds"}
_TIMES = {
    ACTIVITIES: ("createdAt",),
    THREATS: ("createdAt", "updatedAt"),
    AGENTS: ("createdAt", "updatedAt"),
}
_OTHERS = {
    ACTIVITIES: {"activityTypes", "includeHidden", "agentIds", "threatIds", "userIds"},
    THREATS: {"incidentStatuses", "mitigationStatuses", "analystVerdicts", "resolved"},
    AGENTS: {"isDecommissioned", "isUninstalled", "isActive", "isPendingUninstall"},
}
_SORTED = {
    ACTIVITIES: {"id", "createdAt"},
    THREATS: {"id", "createdAt", "updatedAt"},
    AGENTS: {"id", "createdAt", "updatedAt"},
}
_OPERATORS = ("gt", "gte", "lt", "lte")
_TITLES = {
    400: "Bad parameter given",
    401: "Authentication Failed",
    403: "Insufficient permissions",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal server error",
    503: "Service Unavailable",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, detail: str | None = None) -> None:
        super().__init__(detail or str(status))
        self.answer = error_answer(status, detail)


def error_answer(status: int, detail: str | None = None, code: str = "") -> Answer:
    """As documented: code and title are always there, and a line break stands behind."""
    number = int(code) if code else status * 10_000 + 10
    error = {"code": number, "detail": detail, "title": _TITLES.get(status, "Error")}
    return Answer(status, orjson.dumps({"errors": [error]}) + b"\n")


def unknown_parameters(stream: str, parameters: Mapping[str, str]) -> list[str]:
    """What this list does not know: activities have no filter for `updatedAt`."""
    timed = {f"{time}__{operator}" for time in _TIMES[stream] for operator in (*_OPERATORS, "between")}
    if stream == THREATS:
        timed -= {"createdAt__between", "updatedAt__between"}
    return sorted(parameters.keys() - _COMMON - _OTHERS[stream] - timed)


def complaints(parameters: Mapping[str, str]) -> Iterator[str]:
    """What is allowed and loses rows all the same."""
    if parameters.get("countOnly") == "true":
        return
    if "limit" not in parameters:
        yield "no limit: ten rows a page"
    if "sortBy" not in parameters or "sortOrder" not in parameters:
        yield "no sortBy or no sortOrder: no order is promised"
    if parameters.get("skip", "0") != "0":
        yield "skip misses and repeats rows; there are cursors"


def read_query(stream: str, parameters: Mapping[str, str]) -> Query:
    """Parameters to a query; Refused for what SentinelOne refuses."""
    column = parameters.get("sortBy", "id")
    if column not in _SORTED[stream]:
        raise Refused(400, "sortBy: Not a valid choice.")
    order = parameters.get("sortOrder", "asc")
    if order not in {"asc", "desc"}:
        raise Refused(400, "sortOrder: Not a valid choice.")
    return Query(
        bounds=tuple(_bounds(stream, parameters)),
        column=column,
        descending=order == "desc",
        limit=_number(parameters, "limit", 10, range(1, 1001)),
        skip=_number(parameters, "skip", 0, range(1001)),
        count_only=_flag(parameters, "countOnly"),
        skip_count=_flag(parameters, "skipCount"),
        ids=frozenset(parameters["ids"].split(",")) if "ids" in parameters else None,
    )


def _bounds(stream: str, parameters: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    for time in _TIMES[stream]:
        for operator in _OPERATORS:
            text = parameters.get(f"{time}__{operator}")
            if text is not None:
                yield time, operator, _micros(time, text)
        between = parameters.get(f"{time}__between")
        if between is not None:
            first, _, last = between.partition("-")
            if not (first.isdecimal() and last.isdecimal()):
                raise Refused(400, f"{time}__between: Not a valid range.")
            yield time, "gte", int(first) * 1000
            yield time, "lte", int(last) * 1000


def _micros(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, f"{name}: Not a valid datetime.") from error
    if "T" not in text or moment.tzinfo is None:
        raise Refused(400, f"{name}: Not a valid datetime.")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _number(parameters: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    text = parameters.get(name, str(default))
    if not text.isdecimal() or int(text) not in allowed:
        raise Refused(400, f"{name}: Must be between {allowed.start} and {allowed.stop - 1}.")
    return int(text)


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    text = parameters.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise Refused(400, f"{name}: Not a valid boolean.")
    return text == "true"
