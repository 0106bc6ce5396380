"""The System Log."""

from __future__ import annotations

import time
from copy import copy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from collectord.auth import fingerprint
from collectord.client import PageTooLarge
from collectord.errors import SourceError, SourceRefused, SourceUnavailable
from collectord.records import Cursor, Notice, Page, Record, digest, iso_time, parse_time
from collectord.settings import DAY, HOUR, SourceSettings
from collectord.source import first_poll_ms, read_page
from collectord.sources.okta.api import HEADERS, LIMIT, failure_of, read
from collectord.sources.okta.config import OktaConfig

if TYPE_CHECKING:
    from collectord.client import Client, Response
    from collectord.splitting import Slice

LOGS = "/api/v1/logs"
MAX_PAGE_SIZE = 1000
MAX_FILTER_BYTES = 4000
"""No limit is documented; beyond this, events are chosen here, lest a proxy refuse the URL."""
RETENTION_SECONDS = 90 * DAY
"""Okta returns nothing older [OKQ]."""

_MARGIN_MS = 300_000
_SMALLEST_PAGE = 100
_LINK_REFUSED = Notice(
    "OktaLinkRefused",
    "Okta refused the saved link; collecting again from the last safe time, known events are left out, some may repeat",
)
_NO_LINK = Notice(
    "OktaNoLink",
    "Okta, or a proxy that takes Link headers out, does not say where the System Log goes on: it is asked again by time"
    " and known events are left out",
)
_FOREIGN_LINK = Notice(
    "OktaForeignLink", "a next link named another host; only its path and query were used, on the configured host"
)


class _LogEvent(msgspec.Struct, gc=False):
    # Typed as anything, since Okta's types drift between tenants; a wrong one must not cost the page.
    uuid: Any = None
    published: Any = None
    eventType: Any = None


class Events:
    """The System Log by Okta's polling contract: ordered by persistence, complete, and its `next` link never ends.

    Cursor: `next`, path and query of the saved link; `safe_since_ms`, before which everything was collected, where to
    start again should Okta refuse the link; `scope`, what gives the link its meaning; `fallback`, true from a refused
    link until a new one has led to the end of the log. `published` is no cursor: Okta commits events late, and a query
    with `until` misses them [OKQ].
    """

    def __init__(self, settings: SourceSettings, client: Client) -> None:
        assert isinstance(settings.config, OktaConfig)
        self._client = client
        self._start = settings.options.start
        self._overlap_ms = int(1000 * (HOUR if settings.options.overlap is None else settings.options.overlap))
        self._page_size = settings.options.page_size or MAX_PAGE_SIZE
        self._limit = self._page_size
        self._time_outs = 0
        self._largest = 1
        """Records of the largest page yet: Okta may give fewer than are asked for, though there are more."""
        wanted = settings.config.event_types
        expression = quote(" or ".join(f'eventType eq "{name}"' for name in wanted), safe="")
        filtered_there = len(expression) <= MAX_FILTER_BYTES
        self._filter = f"&filter={expression}" if wanted and filtered_there else ""
        self._wanted_here = frozenset(wanted) if wanted and not filtered_there else None
        self._scope = fingerprint(str(client.origin), expression)

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of the log; see `Stream.fetch`."""
        place = self._place(cursor)
        try:
            response = await self._client.get(self._target(place), bucket=LOGS, headers=HEADERS)
        except PageTooLarge:
            self._ask_for_less()
            raise
        if response.status == 400 and "next" in place and not place.get("fallback"):
            return Page([], self._fallback(place), more=True, notices=(_LINK_REFUSED,))
        if response.status != 200:
            raise self._failure(response)
        elements, described = await read_page(response.body, read, response, _LogEvent, "the System Log")
        return self._page(response, place, elements, described)

    def between(self, since_ms: int, until_ms: int) -> _Past:
        """See `Backfillable`."""
        return _Past(copy(self), since_ms, until_ms)

    async def probe(self) -> str:
        """Ask for one event."""
        response = await self._client.get(f"{LOGS}?limit=1", bucket=LOGS, headers=HEADERS)
        if response.status != 200:
            raise self._failure(response)
        read(response, _LogEvent, "the System Log")
        return "the token may read the System Log"

    def _place(self, cursor: Cursor | None) -> Cursor:
        if cursor is None:
            since = first_poll_ms(self._start, default_seconds=DAY, oldest_seconds=RETENTION_SECONDS)
            return {"safe_since_ms": since + self._overlap_ms, "scope": self._scope}
        if type(cursor.get("safe_since_ms")) is not int or type(cursor.get("next", "")) is not str:  # made by hand
            raise SourceRefused("the saved place cannot be read; collectord checkpoint set (or reset) it")
        if cursor.get("scope") != self._scope:  # another host or filter: the link would go on asking the old question
            return self._fallback(cursor)
        return cursor

    def _fallback(self, place: Cursor) -> Cursor:
        return {"safe_since_ms": place["safe_since_ms"], "scope": self._scope, "fallback": True}

    def _target(self, place: Cursor) -> str:
        if "next" in place:
            return LIMIT.sub(rf"\g<1>{self._limit}", place["next"])
        # After a long silence no further back than there is anything: beyond 180 days Okta refuses `since` [OKQ].
        oldest_ms = int(1000 * (time.time() - RETENTION_SECONDS))
        since = quote(iso_time(max(place["safe_since_ms"] - self._overlap_ms, oldest_ms)), safe="")
        return f"{LOGS}?since={since}&sortOrder=ASCENDING&limit={self._limit}{self._filter}"

    def _page(self, response: Response, place: Cursor, elements: list[Slice], described: list[_LogEvent]) -> Page:
        records = self._records(elements, described)
        more = len(elements) >= min(self._limit, self._largest)
        self._largest = max(self._largest, len(elements))
        if not more:
            self._limit, self._time_outs = self._page_size, 0
        safe_since = self._safe_since(records, more, place, response)
        if "next" not in response.links and len(elements) < self._limit:
            return self._end_without_link(records, safe_since, place)
        following, notices = self._next_link(response)
        cursor: Cursor = {
            "next": following,
            "safe_since_ms": safe_since,
            "scope": self._scope,
        }
        if place.get("fallback"):
            notices += (_LINK_REFUSED,)
            if more or "next" not in place:
                cursor["fallback"] = True
        return Page(
            records,
            cursor,
            more=more,
            overlaps=bool(place.get("fallback")),
            remember_from_ms=safe_since - self._overlap_ms,
            notices=notices,
        )

    def _end_without_link(self, records: list[Record], safe_since: int, place: Cursor) -> Page:
        return Page(
            records,
            self._fallback({"safe_since_ms": safe_since}),
            overlaps="next" not in place,
            remember_from_ms=safe_since - self._overlap_ms,
            notices=(_NO_LINK,),
        )

    def _records(self, elements: list[Slice], described: list[_LogEvent]) -> list[Record]:
        return [
            Record(
                raw,
                event.uuid if isinstance(event.uuid, str) and event.uuid else digest(raw),
                parse_time(event.published),
                event.eventType if isinstance(event.eventType, str) else None,
            )
            for raw, event in zip(elements, described, strict=True)
            if self._wanted_here is None or event.eventType in self._wanted_here
        ]

    def _next_link(self, response: Response) -> tuple[str, tuple[Notice, ...]]:
        link = response.links.get("next")
        if link is None:
            raise SourceUnavailable("the System Log answered without a next link; is a proxy taking Link headers out?")
        target, is_ours = self._client.target_of(link, LOGS)
        return target, () if is_ours else (_FOREIGN_LINK,)

    def _safe_since(self, records: list[Record], more: bool, place: Cursor, response: Response) -> int:  # noqa: FBT001
        before: int = place["safe_since_ms"]
        if (
            more
        ):  # a backlog: what comes next may be as old as the last event, but an event is not logged before it happens
            newest = records[-1].time_ms if records else None
            return before if newest is None else max(before, newest - _MARGIN_MS)
        now = int(response.server_time * 1000) - _MARGIN_MS
        # An idle log moves it once an hour only, so that a poll without news writes nothing.
        return max(before, now) if records or now - before >= 1000 * HOUR else before

    def _failure(self, response: Response) -> SourceError:
        if response.status == 500:  # Okta's word for a query of more than 30 s [OKQ]
            self._time_outs += 1
            if self._time_outs >= 2:
                self._ask_for_less()
        return failure_of(response, "the System Log")

    def _ask_for_less(self) -> None:
        self._limit = max(min(_SMALLEST_PAGE, self._page_size), self._limit // 2)

    async def read_past(self, bounds: tuple[int, int], place: Cursor) -> Page:
        """One page of the bounded query: the first, or the one that the link in `place` leads to."""
        response = await self._ask_past(bounds, place)
        if response.status == 400 and "next" in place and not place.get("fallback"):
            return Page([], {"fallback": True}, more=True, notices=(_LINK_REFUSED,))
        if response.status != 200:
            raise self._failure(response)
        records = self._records(*read(response, _LogEvent, "the System Log"))
        link, notices = self._next_link(response) if "next" in response.links else (None, ())
        cursor = {key: value for key, value in place.items() if key == "fallback"}
        if link is not None:
            cursor["next"] = link
        remember_ms = bounds[0]
        return Page(
            records, cursor, more=link is not None, overlaps=True, remember_from_ms=remember_ms, notices=notices
        )

    async def _ask_past(self, bounds: tuple[int, int], place: Cursor) -> Response:
        since, until = (quote(iso_time(ms), safe="") for ms in bounds)
        first = f"{LOGS}?since={since}&until={until}&sortOrder=ASCENDING&limit={self._limit}{self._filter}"
        target = LIMIT.sub(rf"\g<1>{self._limit}", place["next"]) if "next" in place else first
        try:
            return await self._client.get(target, bucket=LOGS, headers=HEADERS)
        except PageTooLarge:
            self._ask_for_less()
            raise


class _Past:
    """The log between two times, by Okta's bounded query: ordered by `published`, and finite.

    What Okta commits late into the minutes before now may be absent from it; the live stream has that.
    """

    def __init__(self, events: Events, since_ms: int, until_ms: int) -> None:
        self._events = events
        self._bounds = since_ms, until_ms

    async def fetch(self, cursor: Cursor | None) -> Page:
        return await self._events.read_past(self._bounds, cursor or {})

    async def probe(self) -> str:
        return await self._events.probe()
