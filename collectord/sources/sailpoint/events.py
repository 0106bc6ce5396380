"""Audit events, by search."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from collectord.client import PageTooLarge
from collectord.errors import RateLimited, SourceError, SourceRefused, SourceUnavailable
from collectord.records import Cursor, Notice, Page, Record, iso_time, parse_time
from collectord.settings import DAY, HOUR
from collectord.source import first_poll_ms
from collectord.sources.sailpoint.place import HOUR_MS, RETENTION_SECONDS, Place, place_of, remember_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectord.settings import SourceOptions
    from collectord.sources.sailpoint.tenant import Listing, Tenant

PAGE_SIZE = 2500
MAX_PAGE_SIZE = 10_000
SMALL_PAGE_SIZE = 250
"""SailPoint's own default, which it cannot well refuse."""
OVERLAP_SECONDS = HOUR
"""SailPoint's index is seconds to minutes late, and later under load."""

_SORT_REFUSED = Notice(
    "SailPointSortRefused",
    "the tenant refuses to sort events by created and id; from now on they are sorted by created alone, and known"
    " events are left out",
)
_AUDIT_REFUSED = Notice(
    "SailPointAuditRefused", "the tenant refuses to count events: whether an hour came whole cannot be checked"
)


class Events:
    """Events by the time of their creation, in windows with a frozen end that overlap.

    The index shows events late and out of order, so a window reaches back behind the newest event that was seen; what
    was collected before is left out by its id. What comes later still, an hourly comparison with the tenant's own count
    finds, and that hour is read again.
    """

    def __init__(self, tenant: Tenant, options: SourceOptions) -> None:
        self._tenant = tenant
        self._start = options.start
        self._overlap_ms = int(1000 * (OVERLAP_SECONDS if options.overlap is None else options.overlap))
        self._page_size = min(options.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        self._halvings = 0
        self._complete_ms = 0
        self._bounds: tuple[int, int] | None = None
        """The one window of a backfill."""

    def between(self, since_ms: int, until_ms: int) -> Events:
        """See `Backfillable`."""
        past = copy(self)
        past._halvings = past._complete_ms = 0  # noqa: SLF001  a copy of ourselves
        past._bounds = since_ms, until_ms  # noqa: SLF001
        return past

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of a window, or the count of an hour; see `Stream.fetch`."""
        self._tenant.met(before=cursor is not None)
        place = place_of(cursor, self._tenant.scope)
        if place.hi_ms is None:
            if place.auditing:
                return await self._audit(place)
            place = self._open(place, await self._tenant.now_ms())
        return await self._read(place)

    async def probe(self) -> str:
        """Ask for one event."""
        now_ms = await self._tenant.now_ms()
        await self._tenant.search(_search(now_ms - HOUR_MS, now_ms, sort=["created"]), 1)
        return "the token may search audit events"

    def _open(self, place: Place, now_ms: int) -> Place:
        if self._bounds is not None:
            begin, end = self._bounds
            return place.changed(from_ms=begin).with_window(begin, end)
        if place.newest_ms is not None:
            return place.opened(now_ms, self._overlap_ms)
        reach = first_poll_ms(self._start, default_seconds=DAY, oldest_seconds=RETENTION_SECONDS)
        begin = max(0, min(reach, now_ms))
        return place.changed(from_ms=begin).with_window(begin, now_ms)

    async def _read(self, place: Place) -> Page:
        limit = max(1, (place.limit or self._page_size) >> self._halvings)
        try:
            listing = await self._tenant.search(_of(place), limit)
        except PageTooLarge:
            self._halvings += 1
            raise
        except SourceRefused as refusal:
            if refusal.code != 400:
                raise
            return self._asking_less(place, limit, refusal)
        times = [record.time_ms for record in listing.records]
        stopped = max((time for time in times if time is not None and time < place.end_ms), default=None)
        if len(times) >= limit:
            following = self._further(place, listing, times, stopped)
        else:
            following = _reached(place.counting(times), stopped)
            following = self._next_slice_or_end(following)
        return self._page(listing.records, following, listing.notices)

    def _next_slice_or_end(self, place: Place) -> Place:
        assert place.hi_ms is not None
        if place.end_ms < place.hi_ms:
            return place.next_slice()
        self._halvings = 0
        self._complete_ms = max(self._complete_ms, place.hi_ms)
        return place.closed()

    def _further(self, place: Place, listing: Listing, times: Sequence[int | None], stopped: int | None) -> Place:
        """Behind a full page, even if every row of it is known."""
        last = listing.rows[-1]
        after = (last.created, last.id)
        if not place.by_time_alone and _is_text(last.created) and _is_text(last.id) and after != place.after:
            return _reached(place.counting(times).changed(after=after), stopped)
        # Without an id to go on behind, the search goes on at the newest time, whose like are read again.
        begin = place.reached_ms if stopped is None else stopped
        if begin > place.lo_ms:
            read = place if stopped is None else place.counting(times[: times.index(stopped)])
            limit = 0 if place.limit == MAX_PAGE_SIZE else place.limit
            return _reached(read.again_from(begin).changed(limit=limit), stopped)
        if place.limit and after == place.after:
            raise SourceUnavailable(
                f"{self._tenant.host} answers with the same page again and again: the search would never end"
            )
        if place.limit:
            raise SourceUnavailable(
                f"more than {len(times)} events of {self._tenant.host} were created in the same millisecond,"
                f" {iso_time(place.lo_ms)}, and it refuses to sort them by id: none behind them can be read; ask"
                " SailPoint's support why a search for events may not be sorted by id"
            )
        return place.again_from(place.lo_ms).changed(limit=MAX_PAGE_SIZE)

    def _asking_less(self, place: Place, limit: int, refusal: SourceRefused) -> Page:
        """The tenant refuses the search: without ids in the sort, then with fewer rows, then not at all."""
        if not place.by_time_alone:
            stopped = parse_time(place.after[0]) if place.after else None
            return self._page([], place.sorted_by_time_alone(stopped), (_SORT_REFUSED,))
        if limit > SMALL_PAGE_SIZE:
            return self._page([], place.changed(limit=SMALL_PAGE_SIZE), ())
        raise refusal

    async def _audit(self, place: Place) -> Page:
        """Compare an hour with the tenant's count; what is not as it was collected is read again."""
        begin, end = place.audit_ms, place.audit_ms + HOUR_MS
        try:
            total = await self._tenant.count(_search(begin, end))
        except RateLimited:
            raise
        except SourceError as error:
            if isinstance(error, SourceRefused) and error.whole_source:
                raise
            # No event waits for it: after the next poll it is tried again.
            notices = (_AUDIT_REFUSED,) if isinstance(error, SourceRefused) else ()
            return self._page([], place.changed(audit_to_ms=0), notices)
        if total == place.counted:
            return self._page([], place.audited(), ())
        differs = Notice(
            "SailPointCountDiffers",
            f"of the hour from {iso_time(begin)} SailPoint counts {total} events, and {place.counted} were found: it is"
            " read again. Should this come often, a longer overlap is needed",
        )
        return self._page([], place.changed(again=True).with_window(begin, end), (differs,))

    def _page(self, records: list[Record], following: Place, notices: tuple[Notice, ...]) -> Page:
        reached = 0 if following.again else following.reached_ms
        return Page(
            records,
            following.cursor(),
            more=following.hi_ms is not None or (following.auditing and self._bounds is None),
            complete_to_ms=max(self._complete_ms, reached, following.newest_ms or 0) or None,
            overlaps=True,
            remember_from_ms=remember_from(following, self._overlap_ms),
            notices=notices,
        )


def _reached(place: Place, stopped: int | None) -> Place:
    assert place.hi_ms is not None
    return place.changed(reached_ms=max(place.reached_ms, min(stopped or 0, place.hi_ms)))


def _of(place: Place) -> bytes:
    if place.by_time_alone:
        return _search(place.lo_ms, place.end_ms, sort=["created"])
    after = {} if place.after is None else {"searchAfter": list(place.after)}
    # The id makes the order total, so that rows of the same millisecond neither repeat nor vanish at a page's end.
    return _search(place.lo_ms, place.end_ms, sort=["created", "id"], **after)


def _search(lo_ms: int, end_ms: int, **more: Any) -> bytes:
    created = {
        "type": "RANGE",
        "range": {
            "lower": {"value": iso_time(lo_ms), "inclusive": True},
            "upper": {"value": iso_time(end_ms), "inclusive": False},
        },
    }
    return msgspec.json.encode(
        {
            "indices": ["events"],
            "queryType": "SAILPOINT",
            "query": {"query": "*"},
            "filters": {"created": created},
            **more,
        }
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
