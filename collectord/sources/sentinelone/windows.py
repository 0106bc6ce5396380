"""What changed since the last poll: windows of time with a frozen end, paged in ascending order."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from collectord.client import PageTooLarge
from collectord.errors import SourceRefused
from collectord.records import Cursor, Notice, Page, Record, iso_time
from collectord.settings import DAY, HOUR, MINUTE
from collectord.source import first_poll_ms

if TYPE_CHECKING:
    from collectord.settings import SourceOptions
    from collectord.sources.sentinelone.console import Console, Listing
    from collectord.sources.sentinelone.rows import Api

MAX_PAGE_SIZE = 1000
FIRST_REACH_SECONDS = 365 * DAY
"""As far back as SentinelOne keeps activities."""
OVERLAP_SECONDS = 10 * MINUTE
WIDE_OVERLAP_SECONDS = HOUR
"""Once an hour a window reaches so far back, for what the console shows late."""

_HOUR_MS = 3_600_000
CURSOR_REFUSED = Notice(
    "SentinelOneCursorRefused",
    "the console refused its own cursor; reading goes on from the last record, known records are left out",
)
_Ms = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_000)]


class Place(msgspec.Struct, omit_defaults=True, frozen=True):
    """A saved cursor."""

    scope: str = ""
    from_ms: _Ms = 0
    """Where the first poll began; nothing older is ever asked for."""
    done_ms: _Ms | None = None
    """Everything before it was collected."""
    wide_ms: _Ms | None = None
    """End of the last window that reached back far."""
    lo_ms: _Ms = 0
    hi_ms: _Ms | None = None
    """The window that is being read: from `lo_ms` up to, not including, `hi_ms`; None: none is."""
    reached_ms: _Ms = 0
    """Everything of the window before it was read."""
    swept_ms: _Ms | None = None
    """When the last full sweep of agents began."""
    sweep_ms: _Ms | None = None
    """When the sweep that is being read began; None: none is."""
    next: str | None = None
    """The console's cursor within the window or the sweep."""
    restarted_ms: _Ms | None = None
    """How far the window had been read when the console refused a cursor."""

    def cursor(self) -> Cursor:
        """As it is saved."""
        saved: dict[str, Any] = msgspec.to_builtins(self)
        return saved


def place_of(cursor: Cursor | None, scope: str) -> Place:
    """Read a saved cursor, whatever its age and shape; the console's own is good for its own host only."""
    if cursor is None:
        return Place(scope)
    try:
        place = msgspec.convert(cursor, Place)
    except msgspec.ValidationError:
        done = cursor.get("done_ms")
        return Place(scope, done_ms=done if type(done) is int and 0 <= done < 2**47 else None)
    if place.scope == scope:
        return place
    return Place(scope, place.from_ms, place.done_ms)


@dataclass(slots=True)
class PageSize:
    """Rows to ask for: less when a page was too large, until the window is over."""

    most: int
    now: int = 0

    def __post_init__(self) -> None:
        self.restore()

    def halve(self) -> None:
        """Ask for half of it from now on."""
        self.now = max(1, self.now // 2)

    def restore(self) -> None:
        """Ask for as much as is wanted again."""
        self.now = self.most


class Changes:
    """Rows by the time of their creation or last change.

    A row that changes while the window is read moves behind its end, and comes with the next. Windows overlap, since
    the console may show a row later than its time says; what was seen before is left out by its id.
    """

    def __init__(self, api: Api, console: Console, options: SourceOptions) -> None:
        self.size = PageSize(min(options.page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE))
        overlap = OVERLAP_SECONDS if options.overlap is None else options.overlap
        self._overlap_ms = int(1000 * overlap)
        wide = WIDE_OVERLAP_SECONDS if options.overlap is None else options.overlap
        self.wide_overlap_ms = int(1000 * max(wide, overlap))
        self._api = api
        self._console = console
        self._start = options.start
        self._bounds: tuple[int, int] | None = None
        """The one window of a backfill."""

    def between(self, since_ms: int, until_ms: int) -> Changes:
        """See `Backfillable`."""
        past = copy(self)
        past.size = PageSize(self.size.most)
        past._bounds = since_ms, until_ms  # noqa: SLF001  a copy of ourselves
        return past

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of a window; see `Stream.fetch`."""
        self._console.met(before=cursor is not None)
        saved = place_of(cursor, self._console.scope)
        place = saved if saved.hi_ms is not None else self._open(saved, await self._console.now_ms())
        try:
            listing = await self._console.list(self._api, self._query(place), self.size.now, place.next)
        except PageTooLarge:
            self.size.halve()
            raise
        except SourceRefused as refusal:
            if refusal.code != 400 or place.next is None or place.reached_ms <= (place.restarted_ms or -1):
                raise
            return await self._restarted(place)
        notices = await self._console.notices(self._api.name)
        if listing.next is not None:
            return self._page(listing, place, notices)
        self.size.restore()
        is_news = bool(listing.records) or place.next is not None or place.wide_ms != saved.wide_ms
        if not is_news and cursor is not None and saved.cursor() == cursor:
            # So that nothing need be written.
            return Page([], cursor, complete_to_ms=place.hi_ms, overlaps=True, notices=notices)
        return self._last_page(listing, place, notices)

    async def probe(self) -> str:
        """Ask for one row."""
        return await self._console.probe(self._api)

    def _open(self, place: Place, now_ms: int) -> Place:
        """A new window, which ends now by the console's clock."""
        if self._bounds is not None:
            begin, end = self._bounds
            return Place(place.scope, begin, wide_ms=end, lo_ms=begin, hi_ms=end, reached_ms=begin)
        if place.done_ms is None:
            reach = first_poll_ms(
                self._start, default_seconds=FIRST_REACH_SECONDS, oldest_seconds=10 * FIRST_REACH_SECONDS
            )
            begin = max(0, min(reach, now_ms))
            return msgspec.structs.replace(
                place, from_ms=begin, wide_ms=now_ms, lo_ms=begin, hi_ms=now_ms, reached_ms=begin
            )
        # A clock that was set back makes the next window wide, and never one that ends before it begins.
        is_wide = place.wide_ms is None or not 0 <= now_ms - place.wide_ms < _HOUR_MS
        back = self.wide_overlap_ms if is_wide else self._overlap_ms
        begin = max(place.from_ms, min(place.done_ms, now_ms) - back, 0)
        wide_ms = now_ms if is_wide else place.wide_ms
        return msgspec.structs.replace(
            place, wide_ms=wide_ms, lo_ms=begin, hi_ms=max(now_ms, begin), reached_ms=begin, restarted_ms=None
        )

    def _query(self, place: Place) -> str:
        assert place.hi_ms is not None
        moment = self._api.moment
        return (
            f"sortBy={moment}&sortOrder=asc&limit={self.size.now}&skipCount=true"
            f"&{moment}__gte={_stamp(place.lo_ms)}&{moment}__lt={_stamp(place.hi_ms)}"
        )

    def _page(self, listing: Listing, place: Place, notices: tuple[Notice, ...]) -> Page:
        assert place.hi_ms is not None
        reached = max(place.reached_ms, min(newest_ms(listing.records), place.hi_ms))
        following = msgspec.structs.replace(place, next=listing.next, reached_ms=reached)
        return Page(
            listing.records,
            following.cursor(),
            more=True,
            complete_to_ms=max(reached, place.done_ms or 0),
            overlaps=True,
            remember_from_ms=reached - self.wide_overlap_ms,
            notices=(*notices, *_of_restart(place)),
        )

    def _last_page(self, listing: Listing, place: Place, notices: tuple[Notice, ...]) -> Page:
        assert place.hi_ms is not None
        following = Place(place.scope, place.from_ms, place.hi_ms, place.wide_ms, swept_ms=place.swept_ms)
        return Page(
            listing.records,
            following.cursor(),
            complete_to_ms=place.hi_ms,
            overlaps=True,
            remember_from_ms=place.hi_ms - self.wide_overlap_ms,
            notices=notices,
        )

    async def _restarted(self, place: Place) -> Page:
        """Read the rest of the window anew, without the refused cursor; allowed again only when it got further."""
        begin = max(place.lo_ms, place.reached_ms - self._overlap_ms)
        following = msgspec.structs.replace(place, lo_ms=begin, next=None, restarted_ms=place.reached_ms)
        notices = await self._console.notices(self._api.name)
        return Page(
            [],
            following.cursor(),
            more=True,
            complete_to_ms=place.done_ms,
            overlaps=True,
            notices=(*notices, CURSOR_REFUSED),
        )


def newest_ms(records: list[Record]) -> int:
    """Time of the newest record; 0 when none has a time."""
    return max((record.time_ms for record in records if record.time_ms is not None), default=0)


def _of_restart(place: Place) -> tuple[Notice, ...]:
    return () if place.restarted_ms is None else (CURSOR_REFUSED,)


def _stamp(ms: int) -> str:
    """A time as the console's own are written; the colons are encoded."""
    return iso_time(ms).replace("Z", "000Z").replace(":", "%3A")
