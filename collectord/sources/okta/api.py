"""What both streams know of Okta's API: its headers, its rate limits, its errors."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from collectord.client import failure
from collectord.errors import SourceError, SourceRefused, SourceUnavailable
from collectord.splitting import Malformed, Slice, heads, slices

if TYPE_CHECKING:
    from multidict import MultiMapping

    from collectord.client import Response

H = TypeVar("H", bound=msgspec.Struct)

HEADERS = {"Content-Type": "application/json"}
LIMIT = re.compile(r"([?&]limit=)\d+")
"""The page size in a link; all else of a link is followed verbatim."""


def rest_seconds(status: int, headers: MultiMapping[str], server_time: float) -> float:
    """Reset is epoch seconds of Okta's own clock [OKRL]; of repeated headers the lowest counts [OSDK]."""
    limit, remaining, reset = (_lowest(headers, f"X-Rate-Limit-{name}") for name in ("Limit", "Remaining", "Reset"))
    if status == 429 and limit == 0 and remaining == 0:  # too many at a time; Reset says nothing then
        return random.uniform(2.0, 10.0)  # noqa: S311  jitter
    spent = remaining is not None and limit is not None and remaining <= max(2, limit // 10)
    if status != 429 and not (spent and reset is not None and reset > server_time):
        return 0.0
    if reset is None:
        return 60.0  # the usual length of Okta's window
    return min(120.0, max(1.0, reset - server_time + 1.0 + random.uniform(0.0, 3.0)))  # noqa: S311  jitter


def _lowest(headers: MultiMapping[str], name: str) -> int | None:
    numbers = [int(text) for value in headers.getall(name, ()) for text in value.split(",") if text.strip().isdecimal()]
    return min(numbers, default=None)


def read(response: Response, kind: type[H], reads: str) -> tuple[list[Slice], list[H]]:
    """The objects of a list, and the fields of each that are needed; `reads` as for `failure_of`."""
    try:
        elements = slices(response.body)
        return elements, heads(response.body, elements, kind)
    except Malformed as error:
        raise SourceUnavailable(f"Okta answered no JSON list for {reads}: {error}; is domain right?") from None


def error_of(response: Response) -> tuple[str, str]:
    try:
        error = msgspec.json.decode(response.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "", response.excerpt
    return str(error.get("errorCode", "")), str(error.get("errorSummary", ""))


def failure_of(response: Response, reads: str) -> SourceError:
    """The error that an answer means; `reads` names what was asked for, e.g. `the System Log`."""
    code, summary = error_of(response)
    request = response.headers.get("X-Okta-Request-Id", "")
    said = " ".join(part for part in (code, summary, f"(request {request})" if request else "") if part)
    status = response.status
    if status == 401:
        return SourceRefused(
            f"Okta rejected the API token (401 {code}). Create a new one: tokens expire after 30 idle days, or when"
            " their owner is deactivated",
            code=status,
            info=said,
            whole_source=True,
        )
    if status == 403:
        return SourceRefused(
            f"the Okta token may not read {reads} (403 {code}): give its owner the role Read-only Administrator, or one"
            f" that may view {reads}, then restart the source",
            code=status,
            info=said,
        )
    if status == 400:
        return SourceRefused(f"Okta refuses to query {reads} (400 {code})", code=status, info=said)
    if status == 404:
        return SourceRefused(f"there is no Okta API for {reads} at this address; check domain", code=status, info=said)
    return failure(response, said)
