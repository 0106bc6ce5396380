"""The inventory of users: all public identities, page by page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from collectord.client import PageTooLarge
from collectord.errors import SourceUnavailable
from collectord.records import Cursor, Notice, Page
from collectord.source import AT_REST
from collectord.sources.sailpoint.rows import User

if TYPE_CHECKING:
    from collectord.settings import SourceOptions
    from collectord.sources.sailpoint.tenant import Listing, Tenant

MAX_PAGE_SIZE = 250
_FOR_EVER_MS = 253_402_300_799_000


class _Sweep(msgspec.Struct, omit_defaults=True, frozen=True):
    """A saved cursor within a sweep."""

    scope: str = ""
    began_ms: int = 0
    """Our clock's; tells one sweep from another."""
    offset: int = 0
    last: str = ""
    """Id of the row before `offset`; it is asked for again, to see whether the list has moved."""
    total: int | None = None
    """X-Total-Count of the first page."""
    has_moved: bool = False
    """The list changed between two pages, or it is not known what came before: somebody may have been passed over."""
    again: bool = False
    """The second pass."""


class Users:
    """Everybody, each time; the list has no filter for changes.

    It is paged by offset, over people who come and go, in the order of names that are not unique: whoever is passed
    over when the list moves is found by a second pass, which is made when there is reason for it. Within a sweep known
    ids are left out; between two sweeps none is remembered, since each is to deliver everybody.
    """

    def __init__(self, tenant: Tenant, options: SourceOptions) -> None:
        self._tenant = tenant
        self._page_size = min(options.page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
        self._halvings = 0
        self._began_ms = 0
        self._ids: set[int] = set()
        """Hashes of the ids of this sweep, as far as this process saw it."""
        self._saw_pass_begin = False
        self._last_page: tuple[int, list[str]] = (0, [])

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of users; see `Stream.fetch`."""
        self._tenant.met(before=cursor is not None)
        sweep = self._resume(cursor)
        limit = max(1, self._page_size >> self._halvings)
        # One row of the page before comes again, where there is room for it.
        anchors = 1 if sweep.last and limit > 1 else 0
        try:
            listing = await self._tenant.list_users(sweep.offset - anchors, limit, count=sweep.offset == 0)
        except PageTooLarge:
            self._halvings += 1
            raise
        sweep = self._with_page(sweep, listing, anchored=anchors > 0)
        if len(listing.rows) < limit:
            return self._end_of_pass(sweep, listing)
        self._check_moves_on(sweep.offset, listing)
        following = msgspec.structs.replace(
            sweep, offset=sweep.offset - anchors + len(listing.rows), last=_identity(listing.rows[-1])
        )
        return self._page(listing, following, listing.notices)

    async def probe(self) -> str:
        """Ask for one user."""
        await self._tenant.list_users(0, 1, count=False)
        return "the token may list users"

    def _resume(self, cursor: Cursor | None) -> _Sweep:
        sweep = _sweep_of(cursor, self._tenant.scope)
        if sweep is None:
            sweep = _Sweep(self._tenant.scope, int(time.time() * 1000))
        if sweep.began_ms != self._began_ms:
            self._began_ms = sweep.began_ms
            self._ids = set()
            self._saw_pass_begin = False
        if sweep.offset == 0:
            self._saw_pass_begin = True
        return sweep if self._saw_pass_begin else msgspec.structs.replace(sweep, has_moved=True)

    def _with_page(self, sweep: _Sweep, listing: Listing, *, anchored: bool) -> _Sweep:
        self._ids.update(
            hash(_identity(row) or record.id) for row, record in zip(listing.rows, listing.records, strict=True)
        )
        has_moved = anchored and (not listing.rows or _identity(listing.rows[0]) != sweep.last)
        return msgspec.structs.replace(
            sweep,
            has_moved=sweep.has_moved or has_moved,
            total=listing.total if sweep.offset == 0 else sweep.total,
        )

    def _check_moves_on(self, offset: int, listing: Listing) -> None:
        last_offset, last_ids = self._last_page
        found = [record.id for record in listing.records]
        if offset != last_offset and found == last_ids:
            raise SourceUnavailable(
                f"{self._tenant.host} answers with the same page of users again and again: the list would never end"
            )
        self._last_page = (offset, found)

    def _end_of_pass(self, sweep: _Sweep, listing: Listing) -> Page:
        self._halvings = 0
        is_short = sweep.total is not None and len(self._ids) < sweep.total
        if not sweep.again and (sweep.has_moved or is_short):
            return self._page(listing, _Sweep(sweep.scope, sweep.began_ms, again=True), listing.notices)
        notices = listing.notices
        if is_short and self._saw_pass_begin:
            notices += (
                Notice(
                    "SailPointUsersIncomplete",
                    f"SailPoint counts {sweep.total} users, and two passes found {len(self._ids)}; whoever is missing"
                    " is looked for again by the next sweep",
                ),
            )
        self._ids, self._began_ms = set(), 0
        return Page(listing.records, AT_REST, overlaps=True, remember_from_ms=_FOR_EVER_MS, notices=notices)

    def _page(self, listing: Listing, following: _Sweep, notices: tuple[Notice, ...]) -> Page:
        cursor: dict[str, Any] = msgspec.to_builtins(following)
        return Page(listing.records, cursor, more=True, overlaps=True, remember_from_ms=0, notices=notices)


def _sweep_of(cursor: Cursor | None, scope: str) -> _Sweep | None:
    """Read a saved cursor, whatever its age and shape; None: a new sweep is to begin."""
    if cursor is None or cursor == AT_REST:
        return None
    try:
        sweep = msgspec.convert(cursor, _Sweep)
    except msgspec.ValidationError:
        return None
    return sweep if sweep.scope == scope and sweep.began_ms > 0 and sweep.offset >= 0 else None


def _identity(row: User) -> str:
    return row.id if isinstance(row.id, str) else ""
