"""One stream of Netskope: a server-side iterator, which moves when a page is sent and can be asked for that page again.

The vendor holds the place, by endpoint and index: `next` moves it when the answer begins, whether or not the page
arrives. `resend` gives the last page once more and is the only undo, one page deep. So `next` is asked only while it is
certain that the last page sent is the last page accepted, and `resend` in every other case (okta-netskope.md 2.2).
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec

from collectord.auth import fingerprint
from collectord.client import CutShort, PageTooLarge, retry_after
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.records import RESTORED, Cursor, Notice, Page
from collectord.settings import DAY, HOUR, MINUTE
from collectord.source import first_poll_ms, read_page
from collectord.sources.netskope.api import BIG_PAGE_BYTES, Records, path_of, request_id, said_by
from collectord.sources.netskope.pages import Export, read

if TYPE_CHECKING:
    from collectord.client import Response
    from collectord.errors import SourceError
    from collectord.settings import SourceOptions
    from collectord.sources.netskope.api import Tenant

RETENTION_SECONDS = 90 * DAY
"""How far back other connectors may look; the vendor gives no number."""
RESEND_PATIENCE_SECONDS = HOUR
"""When `resend` has failed for so long while the endpoint is otherwise well, the page is given up for a new start."""
_OVERLAP_SECONDS = 10 * MINUTE
"""A new start goes by the events' own time, and they arrive five minutes late [demisto's samples]."""
_CAUGHT_UP_SECONDS = 10 * MINUTE
"""Twice the interval: a mark that goes with the clock alone makes no larger step, and is no further behind."""
_VALIDATION_INDEX = "collectord-validation"
_NEXT, _RESEND = "next", "resend"
_SAME_BAD_REQUESTS = 3
_SAME_PAGES = 3
_CONFLICTS = 10
_CONFLICTS_SECONDS = 10 * MINUTE
_NOT_FROM_THE_API = frozenset({408, 502, 504})
"""A gateway's word: the API behind it may have acted all the same."""
_POSSIBLE_DUPLICATES = "NetskopePossibleDuplicates"


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cursor."""

    index: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}$")]
    """Name of the iterator at the vendor: random, never made of the source's name, and saved before it is used."""
    scope: str
    """The tenant at which the index is known."""
    epoch: int
    """Where the index begins, epoch seconds."""
    seeded: bool = False
    """Whether a page from `epoch` on was accepted."""
    pages: int = 0
    digest: str = ""
    """Of the last page with records that was accepted."""
    hwm: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Up to when the vendor said to have delivered, epoch seconds."""
    replay_to: int | None = None
    """What was collected before is collected again up to here; known records are left out."""


class Iterator:
    """The export of one stream; see Place for its cursor."""

    def __init__(self, stream: str, options: SourceOptions, tenant: Tenant) -> None:
        self._stream = stream
        self._path = path_of(stream)
        self._options = options
        self._start = options.start
        self._overlap = int(_OVERLAP_SECONDS if options.overlap is None else options.overlap)
        self._tenant = tenant
        self._scope = fingerprint(str(tenant.client.origin))
        self._certain: Place | None = None
        """The place whose last page is also the last page that the vendor sent; None: nobody knows."""
        self._resend_fails_since: float | None = None
        self._bad_request = ("", 0)
        self._same_pages = 0
        self._conflicts: deque[float] = deque(maxlen=_CONFLICTS + 1)
        self._conflict_since: float | None = None
        self._bounds: tuple[int, int] | None = None
        """Of a backfill, ms."""

    def between(self, since_ms: int, until_ms: int) -> Past:
        """See `Backfillable`; the index of the past is its own, so the live one stays where it is."""
        past = Iterator(self._stream, self._options, self._tenant)
        past._bounds = since_ms, until_ms
        return Past(past, until_ms, self._overlap)

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of the export; see `Stream.fetch`."""
        if cursor is None:
            return await self._begin(None)
        try:
            place = msgspec.convert(cursor, Place)
        except msgspec.ValidationError:  # made by another version, or by hand
            return await self._begin(_hwm_of(cursor), "the saved place cannot be read")
        if place.scope != self._scope:
            return await self._begin(place.hwm or place.epoch, "the source now names another tenant or host")
        if cursor.get(RESTORED):  # the iterator has moved on since
            return await self._begin(place.hwm or place.epoch, "an older place was taken from the backup")
        operation = self._operation(place)
        try:
            return await self._pull(place, operation)
        except SourceUnavailable as error:
            if operation != _RESEND or not self._is_given_up(error):
                raise
            try:
                return await self._begin(place.hwm or place.epoch, "a page was lost on the way and is not sent again")
            except SourceUnavailable:  # the endpoint fails altogether: the page is not lost, only late
                raise error from None

    async def probe(self) -> str:
        """Put an iterator of its own beyond the newest event: harmless, quick, and answered by 200 or 409."""
        response = await self._ask(_VALIDATION_INDEX, f"{int(time.time()) + 60}")
        if response.status not in {200, 204, 409}:
            raise self._failure(response, "validation")
        if response.status == 200:
            read(self._stream, response)
        self._tenant.welcomed(self._stream)
        return f"the token may read {self._path}"

    async def _begin(self, hwm: int | None, reason: str = "") -> Page:
        """A new index, to be saved before it is used; `hwm`: what was collected up to there is collected already."""
        await self.probe()  # before anybody is told that collecting has begun
        if hwm is None and self._bounds is not None:
            epoch = self._bounds[0] // 1000
        elif hwm is None:
            epoch = first_poll_ms(self._start, default_seconds=DAY, oldest_seconds=RETENTION_SECONDS) // 1000
        else:
            epoch = min(int(time.time()), max(hwm, int(time.time() - RETENTION_SECONDS)) - self._overlap)
        self._certain = self._resend_fails_since = None
        index = f"collectord-{uuid.uuid4().hex[:12]}-{self._stream}"
        place = Place(index, self._scope, max(0, epoch), replay_to=hwm)
        return Page([], _cursor(place), more=True, notices=_notices(place, reason))

    def _operation(self, place: Place) -> str:
        if not place.seeded:
            return str(place.epoch)  # however often it must be, always the same: it moves the iterator to one place
        return _NEXT if self._certain == place else _RESEND

    async def _pull(self, place: Place, operation: str) -> Page:
        async with self._tenant.room_for_page(self._stream) as keep_room:
            certain, self._certain = self._certain, None
            try:
                response = await self._ask(place.index, operation)
            except PageTooLarge as error:
                raise SourceUnavailable(
                    f"a page of {self._path} is larger than collectord takes, and Netskope alone decides its size",
                    info=error.message,
                ) from None
            except CutShort:
                raise
            except SourceUnavailable:  # nothing was sent, or it was too much for the rate limit
                self._certain = certain
                raise
            if response.status not in {200, 204}:
                if response.status >= 400 and response.status not in _NOT_FROM_THE_API:
                    self._certain = certain
                raise self._failure(response, operation)
            if response.status == 204:
                export = Export(Records())
            else:
                export = await read_page(response.body, read, self._stream, response)
            if len(response.body) >= BIG_PAGE_BYTES:
                keep_room(export.records)
        self._tenant.welcomed(self._stream)
        self._bad_request, self._resend_fails_since, self._conflict_since = ("", 0), None, None
        return self._page(place, operation, export, response.server_time)

    def _page(self, place: Place, operation: str, export: Export, server_time: float) -> Page:
        if operation == _RESEND and export.digest and export.digest == place.digest:
            self._certain = place  # the `next` that was lost never happened
            return Page([], _cursor(place), more=True, not_before_seconds=export.wait_seconds)
        if operation == _NEXT:
            self._count_repetitions(place, export)
        hwm = place.hwm if export.hwm is None else export.hwm
        # An hour without events is an empty page too: while the vendor's own mark is on its way, there may be more.
        step = 0 if hwm is None else hwm - (place.hwm or place.epoch)
        on_its_way = hwm is not None and step != 0 and max(step, server_time - hwm) > _CAUGHT_UP_SECONDS
        more = bool(export.records) or operation != _NEXT or on_its_way
        # The mark is in whole seconds: as long as it says the last of them, more of that second may follow.
        replaying = place.replay_to is not None and more and (hwm is None or hwm <= place.replay_to)
        following = msgspec.structs.replace(
            place,
            seeded=True,
            pages=place.pages + bool(export.records),
            digest=export.digest or place.digest,
            hwm=hwm,
            replay_to=place.replay_to if replaying else None,
        )
        self._certain = following
        return Page(
            export.records,
            _cursor(following),
            more=more,
            not_before_seconds=export.wait_seconds,
            complete_to_ms=hwm * 1000 if more and hwm is not None else None,
            overlaps=place.replay_to is not None,
            remember_from_ms=None if hwm is None else (hwm - self._overlap) * 1000,
            notices=_notices(place),
        )

    def _count_repetitions(self, place: Place, export: Export) -> None:
        self._same_pages = self._same_pages + 1 if export.digest and export.digest == place.digest else 0
        if self._same_pages >= _SAME_PAGES:
            raise SourceUnavailable(
                f"Netskope sends the same page of {self._path} again and again although the next one is asked for",
                retry_after=MINUTE,
            )

    async def _ask(self, index: str, operation: str) -> Response:
        target = f"{self._path}?index={index}&operation={operation}"
        return await self._tenant.client.get(target, bucket=self._path)

    def _is_given_up(self, error: SourceUnavailable) -> bool:
        if isinstance(error, RateLimited):
            return False
        now = anyio.current_time()
        if self._resend_fails_since is None:
            self._resend_fails_since = now
        refused = error.code == 400 and self._bad_request[1] >= _SAME_BAD_REQUESTS
        return refused or now - self._resend_fails_since >= RESEND_PATIENCE_SECONDS

    def _failure(self, response: Response, operation: str) -> SourceError:
        if response.status == 400:
            return self._bad(response, operation)
        if response.status == 409:
            return self._conflict(response)
        return self._tenant.failure_of(self._stream, response)

    def _bad(self, response: Response, operation: str) -> SourceError:
        said = said_by(response.body)
        message = f"Netskope refuses {operation} on {self._path} (400){request_id(response)}"
        key, count = self._bad_request
        question = f"{operation} {said}"
        self._bad_request = (question, count + 1 if key == question else 1)
        if self._bad_request[1] < _SAME_BAD_REQUESTS or operation == _RESEND:
            return SourceUnavailable(message, code=400, info=said)
        return SourceRefused(f"{message}, {_SAME_BAD_REQUESTS} times; check start", code=400, info=said)

    def _conflict(self, response: Response) -> SourceUnavailable:
        now = anyio.current_time()
        self._conflicts.append(now)
        self._conflict_since = now if self._conflict_since is None else self._conflict_since
        many = len(self._conflicts) > _CONFLICTS and now - self._conflicts[0] <= _CONFLICTS_SECONDS
        # Waits grow, so ten minutes on end may hold fewer.
        if many or now - self._conflict_since >= _CONFLICTS_SECONDS:
            message = (
                f"another collector uses this index or token on {self._path} (409 for 10 minutes)"
                f"{request_id(response)}: stop it, or give each its own token and state directory; two that share an"
                " index lose events to each other"
            )
        else:
            message = f"another request on {self._path} is in progress (409){request_id(response)}"
        wait = max(random.uniform(10.0, 60.0), retry_after(response.headers) or 0.0)  # noqa: S311  jitter
        return SourceUnavailable(message, code=409, info=said_by(response.body), retry_after=wait)


class Past:
    """The export on an index of its own, up to a time; events arrive late, so it reads a little further than that."""

    def __init__(self, iterator: Iterator, until_ms: int, overlap_seconds: int) -> None:
        self._iterator = iterator
        self._until_ms = until_ms
        self._enough_ms = until_ms + 1000 * overlap_seconds

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page; what is newer than the window is left to the live stream."""
        page = await self._iterator.fetch(cursor)
        hwm = _hwm_of(page.cursor)
        wanted = [record for record in page.records if record.time_ms is None or record.time_ms < self._until_ms]
        return replace(page, records=wanted, more=page.more and (hwm is None or 1000 * hwm < self._enough_ms))

    async def probe(self) -> str:
        """See `Stream.probe`."""
        return await self._iterator.probe()


def _hwm_of(cursor: object) -> int | None:
    hwm = cursor.get("hwm") if isinstance(cursor, dict) else None
    return hwm if type(hwm) is int and hwm > 0 else None


def _cursor(place: Place) -> Cursor:
    cursor: Cursor = msgspec.to_builtins(place)
    return cursor


def _notices(place: Place, reason: str = "") -> tuple[Notice, ...]:
    if place.replay_to is None and not reason:
        return ()
    begins = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(place.epoch))
    why = f"{reason}; " if reason else ""
    text = f"{why}collecting again from {begins} with a new index: possible duplicates, known records are left out"
    return (Notice(_POSSIBLE_DUPLICATES, text),)
