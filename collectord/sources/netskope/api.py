"""What all streams know of Netskope's API: its paths, its rate limit, its errors, and what they share of one tenant."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import finalize

import anyio
import msgspec

from collectord.client import failure, retry_after
from collectord.errors import SourceError, SourceRefused
from collectord.records import Record
from collectord.settings import HOUR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from multidict import MultiMapping

    from collectord.client import Client, Response

EXPORT = "/api/v2/events/dataexport/events"
"""Beneath it, each stream has an endpoint of its own, which is a scope of the token and a rate limit too."""

_CONSUME = "cannot consume"
"""What a 403 says where the token lacks the scope; another text may mean the token itself."""
BIG_PAGE_BYTES = 4 * 2**20
"""From here on a page counts for the memory of the process, and only one is held at a time."""
_LONGEST_WAIT_FOR_ROOM_SECONDS = 30.0
_LONGEST_RESET_SECONDS = 300.0
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


def path_of(stream: str) -> str:
    """Where this stream is exported."""
    return f"{EXPORT}/{stream}"


def rest_seconds(status: int, headers: MultiMapping[str], _server_time: float) -> float:
    """Reset is seconds to wait, not a time as Okta's [NSD22]; it counts at the last request of a second as at a 429."""
    told = _seconds(headers, "RateLimit-Reset")
    if status != 429:
        remaining = _seconds(headers, "RateLimit-Remaining")
        return 0.0 if remaining is None or remaining > 0 else _clamped(told, random.uniform(1.0, 10.0))  # noqa: S311
    wanted = retry_after(headers)
    if wanted is not None:
        return min(HOUR, max(1.0, wanted, _clamped(told, 0.0)))
    # Without a word to go by: long enough for a limit of the whole tenant, and not all streams at the same moment.
    return _clamped(told, random.uniform(30.0, 40.0))  # noqa: S311  jitter


def _clamped(seconds: float | None, otherwise: float) -> float:
    return otherwise if seconds is None else min(_LONGEST_RESET_SECONDS, max(1.0, seconds))


def _seconds(headers: MultiMapping[str], name: str) -> float | None:
    texts = [text.strip() for value in headers.getall(name, ()) for text in value.split(",")]
    return max((float(text) for text in texts if text.removeprefix("-").isdecimal() and text.isascii()), default=None)


def said_by(body: bytes) -> str:
    """The vendor's own words in an answer, wherever it put them; else how the body begins."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body[:512].decode("utf-8", "replace")
    status = told.get("status")
    words = (told.get("message"), told.get("error"), status.get("message") if isinstance(status, dict) else status)
    return next((word for word in words if isinstance(word, str) and word), "")


def request_id(response: Response) -> str:
    """` (request …)`, for a message; empty where the vendor named none."""
    name = response.headers.get("x-request-id", "")
    return f" (request {name})" if _REQUEST_ID.fullmatch(name) else ""


class Records(list[Record]):
    """The records of a page; unlike a plain list, it can be watched until nobody holds it any more."""

    __slots__ = ("__weakref__",)


class Tenant:
    """What the streams of one source share."""

    def __init__(self, client: Client, streams: frozenset[str], *, named: bool) -> None:
        self.client = client
        self._streams = streams
        self._named = named
        """Whether somebody asked for these streams by name, rather than for all there are."""
        self._refused: set[str] = set()
        self._pages = anyio.CapacityLimiter(1)
        self._borrowers: dict[str, object] = {}
        """Who holds the place for a page, by stream."""

    @asynccontextmanager
    async def room_for_page(self, stream: str) -> AsyncIterator[Callable[[Records], None]]:
        """Take the one place for a page, which may be 30 MB, and give it up behind the block.

        Called with a big page's records, what is given keeps the place until nobody holds them any more: then they are
        in the outbox. Nobody waits for ever: another stream's request that hangs must not stop this one.
        """
        self._leave_room(self._borrowers.pop(stream, None))
        borrower = object()
        with anyio.move_on_after(_LONGEST_WAIT_FOR_ROOM_SECONDS):
            await self._pages.acquire_on_behalf_of(borrower)
        kept = False

        def keep(records: Records) -> None:
            nonlocal kept
            kept = True
            self._borrowers[stream] = borrower
            loop = asyncio.get_running_loop()
            # The last to hold them may be the thread that made batches of them.
            finalize(records, _call_on, loop, self._leave_room, borrower).atexit = False

        try:
            yield keep
        finally:
            if not kept:
                self._leave_room(borrower)

    def _leave_room(self, borrower: object) -> None:
        if borrower in self._pages.statistics().borrowers:
            self._pages.release_on_behalf_of(borrower)

    def welcomed(self, stream: str) -> None:
        """Note that the token may read this stream."""
        self._refused.discard(stream)

    def failure_of(self, stream: str, response: Response) -> SourceError:
        """The error that a status means, where it does not depend on what came before."""
        said = said_by(response.body)
        status = response.status
        request = request_id(response)
        if status == 401:
            return SourceRefused(
                f"Netskope rejects the API token (401){request}: it is wrong, expired or revoked. Create a new one for"
                " the REST API v2",
                code=status,
                info=said,
                whole_source=True,
            )
        if status == 403:
            return self._forbidden(stream, said, request)
        if status == 404:
            return SourceRefused(
                f"Netskope has no {path_of(stream)} (404){request}: this tenant has none, or tenantID is wrong",
                code=status,
                info=said,
            )
        error = failure(response, said)
        error.message += request
        return error

    def _forbidden(self, stream: str, said: str, request: str) -> SourceRefused:
        self._refused.add(stream)
        if self._refused == self._streams:
            return SourceRefused(
                f"Netskope refuses every stream of this source (403){request}: the token is wrong or expired, has no"
                f" Read scope for {EXPORT}/…, or this machine is not on the tenant's list of allowed addresses",
                code=403,
                info=said,
                whole_source=True,
            )
        if _CONSUME in said:
            reason = f"the Netskope token has no Read scope for {path_of(stream)} (403){request}"
        else:
            reason = f"Netskope refuses {path_of(stream)} (403){request}: by the token's scopes, or by address"
        if stream == "alert":
            remedy = "alerts are always collected: give the token this scope, then reload"
        elif self._named:
            remedy = f"give the token this scope, or take {stream} out of eventTypes; then reload"
        else:
            remedy = f"{stream} events are skipped; name the eventTypes that you want, or give the token this scope"
        return SourceRefused(f"{reason}; {remedy}", code=403, info=said)


def _call_on(loop: asyncio.AbstractEventLoop, action: Callable[[object], None], argument: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, and with it everything that could wait
        loop.call_soon_threadsafe(action, argument)
