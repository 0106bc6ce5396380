"""The inventory of agents: what changed at every poll, and all of it once a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from collectord.client import PageTooLarge
from collectord.errors import SourceRefused
from collectord.records import Cursor, Page
from collectord.sources.sentinelone.windows import CURSOR_REFUSED, Changes, Place, place_of

if TYPE_CHECKING:
    from collectord.settings import SourceOptions
    from collectord.sources.sentinelone.console import Console, Listing
    from collectord.sources.sentinelone.rows import Api

SWEEP_MS = 86_400_000
"""Between two sweeps: a sign of life changes `lastActiveDate` and not always `updatedAt`."""


class Agents:
    """Agents by the time of their last change, between full sweeps.

    A sweep is ordered by id, so that agents which change or come meanwhile neither repeat nor vanish; the window behind
    it begins where the sweep began. A sweep delivers every agent, known or not.
    """

    def __init__(self, api: Api, console: Console, options: SourceOptions) -> None:
        self._api = api
        self._console = console
        self._changes = Changes(api, console, options)
        self._size = self._changes.size

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of a sweep or of a window; see `Stream.fetch`."""
        self._console.met(before=cursor is not None)
        place = place_of(cursor, self._console.scope)
        if place.hi_ms is None and place.sweep_ms is None:
            now_ms = await self._console.now_ms()
            if place.swept_ms is None or not 0 <= now_ms - place.swept_ms < SWEEP_MS:
                place = msgspec.structs.replace(place, sweep_ms=now_ms, restarted_ms=None)
        if place.sweep_ms is None:
            return await self._changes.fetch(cursor)
        return await self._sweep(place, place.sweep_ms)

    async def probe(self) -> str:
        """Ask for one row."""
        return await self._console.probe(self._api)

    async def _sweep(self, place: Place, began_ms: int) -> Page:
        query = f"sortBy=id&sortOrder=asc&limit={self._size.now}&skipCount=true"
        try:
            listing = await self._console.list(self._api, query, self._size.now, place.next)
        except PageTooLarge:
            self._size.halve()
            raise
        except SourceRefused as refusal:
            if refusal.code != 400 or place.next is None or place.restarted_ms is not None:
                raise
            again = msgspec.structs.replace(place, next=None, restarted_ms=began_ms)
            notices = await self._console.notices(self._api.name)
            return Page([], again.cursor(), more=True, notices=(*notices, CURSOR_REFUSED))
        return await self._page(listing, place, began_ms)

    async def _page(self, listing: Listing, place: Place, began_ms: int) -> Page:
        if listing.next is not None:
            following = msgspec.structs.replace(place, next=listing.next)
        else:
            self._size.restore()
            done_ms = began_ms if place.done_ms is None else place.done_ms
            following = Place(place.scope, place.from_ms, done_ms, place.wide_ms, swept_ms=began_ms)
        notices = await self._console.notices(self._api.name)
        return Page(
            listing.records,
            following.cursor(),
            more=True,
            complete_to_ms=place.done_ms,
            remember_from_ms=min(began_ms, place.done_ms or began_ms) - self._changes.wide_overlap_ms,
            notices=notices if place.restarted_ms is None else (*notices, CURSOR_REFUSED),
        )
