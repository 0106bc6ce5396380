"""One stream's loop: fetch a page, keep it in the outbox, wait for the next poll.

Only here a stream loops and waits, and only here a cursor is saved, together with its page. Cancelling it anywhere is
safe: a page is either in the outbox with its cursor, or it is fetched again.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

import anyio
from anyio import to_thread

from collectord.backoff import GaveUp, Nap, retry
from collectord.errors import (
    CheckpointLost,
    CollectordError,
    RateLimited,
    SinkUnavailable,
    SourceRefused,
    SourceUnavailable,
    StoreError,
)
from collectord.health import State
from collectord.outbox import Acceptance, SeenPage
from collectord.settings import MINUTE, RetryPolicy
from collectord.source import AT_REST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from collectord.backoff import Failure
    from collectord.health import HealthBoard, Resource, StreamStatus
    from collectord.outbox import Outbox, StreamKey
    from collectord.records import Batch, Cursor, Metadata, Page, Record
    from collectord.rules import Rules
    from collectord.sink import Sink
    from collectord.source import Stream

T = TypeVar("T")

STORE_RETRY = RetryPolicy(max=MINUTE, then=MINUTE)
"""A full disk is emptied by somebody some day; until then we look every minute."""
_LONGEST_STEP_SECONDS = 900.0  # more than one attempt may take with all its waits for a vendor's rate limit
_FINISH_ON_LOOP_RECORDS = 64  # fewer are finished in less time than a thread takes to be woken


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stream's loop needs beside the stream."""

    outbox: Outbox
    health: HealthBoard
    resource: Resource
    sinks: Mapping[str, Sink]
    """The daemon's sinks as they are now."""
    chosen: tuple[str, ...] | None
    """The sinks that this source delivers to; None: all."""
    retry: RetryPolicy
    rules: Rules | None = None

    def sink_names(self) -> tuple[str, ...]:
        """Where this source's records go now."""
        return tuple(self.sinks) if self.chosen is None else self.chosen


class _Finished(NamedTuple):
    """A page's records on their way out."""

    batches: Mapping[str, Sequence[Batch]]
    """By sink."""
    dropped: int
    """Records that a rule did not let pass."""


class Collector:
    """One stream of one source."""

    def __init__(
        self, key: StreamKey, stream: Stream, metadata: Metadata, status: StreamStatus, around: Surroundings
    ) -> None:
        self.key = key
        self.status = status
        self.nap = Nap()
        """What it sleeps in; wake it to poll at once."""
        self.expected_by = math.inf
        """When something is wrong if it has not moved on, on the loop's clock."""
        self._stream = stream
        self._metadata = metadata
        self._around = around
        self._cursor: Cursor | None = around.outbox.checkpoint(key)
        self._seen: SeenIds | None = None
        self._last_sizes: Mapping[str, int] = {}
        """Bytes of the last page by sink: the next one is asked for when there is room for as much."""

    async def run(self, first_poll_in: float) -> CollectordError:
        """Collect until cancelled, or until collecting must stop; returns what stopped it."""
        error: CollectordError
        try:
            self._be_sure_of_the_place()
            self._plan(first_poll_in)
            self.status.saved_ms = await self._around.outbox.saved_ms(self.key) or None
            rest = await self._rest_left()
            if rest > 0:  # complete in an earlier run; nothing will be said of it until it is collected anew
                self.status.state, self.status.last_success_ms = State.COLLECTING, self.status.saved_ms
            await self._poll_for_ever(max(first_poll_in, rest))
        except SourceRefused as refusal:
            await self._trouble(refusal)
            error = refusal
        except GaveUp as gave_up:
            error = await self._given_up(gave_up)
        self.expected_by = math.inf
        self.status.next_poll_ms = None
        return error

    async def run_once(self) -> CollectordError | None:
        """Collect until the vendor has no more, for once; returns what stopped it before that, if anything did."""
        try:
            self._move_on()
            await self._poll()
        except SourceRefused as refusal:
            await self._trouble(refusal)
            return refusal
        except GaveUp as gave_up:
            return await self._given_up(gave_up)
        return None

    def _be_sure_of_the_place(self) -> None:
        if self._around.outbox.is_lost(self.key):
            raise CheckpointLost(
                "the saved place of this stream was lost with the damaged state store; say where to go on:"
                f" collectord checkpoint set (or reset) {self.key.source} {self.key.stream}"
            )

    async def _rest_left(self) -> float:
        """How long an inventory that was complete when the daemon stopped may rest still, in seconds."""
        if self._cursor != AT_REST:
            return 0.0
        rested = time.time() - await self._around.outbox.saved_ms(self.key) / 1000
        return min(self.status.interval_seconds, self.status.interval_seconds - rested)

    async def _poll_for_ever(self, wait: float) -> NoReturn:
        while True:
            self._plan(wait)
            await self.nap.sleep(wait)
            started = anyio.current_time()
            pause = await self._poll()
            wait = max(self.status.interval_seconds - (anyio.current_time() - started), pause, 0.0)

    async def stop_for(self, error: CollectordError) -> None:
        """Show that this stream stopped because its whole source is refused."""
        self.status.next_poll_ms = None
        await self._trouble(error)

    def _move_on(self, within_seconds: float = 0.0) -> None:
        self.expected_by = anyio.current_time() + within_seconds + _LONGEST_STEP_SECONDS

    def _plan(self, seconds: float) -> None:
        self._move_on(seconds)
        self.status.next_poll_ms = int((time.time() + seconds) * 1000)

    async def _poll(self) -> float:
        """Fetch until the vendor has no more now; returns the vendor's own wait, in seconds."""
        stood_still = False
        while True:
            await self._room({name: self._last_sizes.get(name, 0) for name in self._around.sink_names()})
            asked = self._cursor
            page = await self._retried(self._fetch, self._around.retry, SourceUnavailable)
            receipt_ms = int(time.time() * 1000)
            await self._retried(partial(self._keep, page, receipt_ms), STORE_RETRY, StoreError)
            await self._well(page, receipt_ms)
            # A vendor that has more and does not move on, though asked twice, is asked again at the next poll, not in a
            # tight loop. Once is no sign of it: Netskope's last page came again, and now the next can be asked for.
            stands_still = not page.records and page.cursor == asked
            more, pause = page.more and not (stands_still and stood_still), page.not_before_seconds
            stood_still = stands_still
            del page  # it may hold 30 MB, which nobody needs while we wait
            if not more:
                return pause
            if pause:
                await self.nap.sleep(pause)

    async def _room(self, coming: Mapping[str, int]) -> None:
        """Wait until the outbox may hold so many bytes more for each sink, and say so."""
        outbox = self._around.outbox
        if full := outbox.full(coming):
            message = f"the buffer of sink {', '.join(full)} is full (buffer_bytes); polling waits until it has room"
            if any(outbox.dead_letters[sink].size for sink in full):
                message += "; dead letters take a part of it (collectord dead-letters list)"
            await self._trouble(SinkUnavailable(message))
            self.expected_by = math.inf
            await outbox.room(coming)

    async def _fetch(self) -> Page:
        while True:
            self._move_on()
            try:
                page = await self._stream.fetch(self._cursor)
            except RateLimited as limited:  # no trouble: the vendor said when to go on
                if self.status.state is State.INITIALIZED:
                    self.status.state = State.COLLECTING
                self._move_on(limited.retry_after or 1.0)
                await anyio.sleep(limited.retry_after or 1.0)
            else:
                if self.status.state is State.INITIALIZED:
                    self.status.state = State.AUTHENTICATED
                return page

    async def _keep(self, page: Page, receipt_ms: int) -> None:
        """Put the page into the outbox: batches, cursor and ids in one transaction."""
        self.expected_by = math.inf  # as long as the disk takes, or the sink whose buffer is full
        records = await self._unseen(page)
        if not records and page.cursor == self._cursor:
            return
        finished = _Finished({}, 0)
        if records:
            metadata = replace(self._metadata, receipt_ms=receipt_ms)
            if len(records) <= _FINISH_ON_LOOP_RECORDS:
                finished = self._finish(records, metadata)
            else:
                finished = await to_thread.run_sync(self._finish, records, metadata)
        seen = None
        if records and page.remember_from_ms is not None:
            seen = _to_remember(records, page.remember_from_ms, receipt_ms)
        forget = page.remember_from_ms or 0
        acceptance = Acceptance(self.key, page.cursor, finished.batches, seen, forget)
        self._last_sizes = acceptance.sizes
        await self._room(self._last_sizes)
        await self._around.outbox.accept(acceptance)
        self._cursor = page.cursor
        if self._seen is not None:
            self._seen.remember(seen, forget)
        self.status.records_received += len(page.records)
        accepted = len(records) - finished.dropped
        self.status.records_accepted += accepted
        self.status.last_hour.add(accepted, receipt_ms)
        self.status.records_dropped += finished.dropped
        self.status.duplicates_suppressed += len(page.records) - len(records)

    def _finish(self, records: Sequence[Record], metadata: Metadata) -> _Finished:
        """From records to batches, for each sink; may run in a thread."""
        kept = records if self._around.rules is None else self._around.rules.apply(records)
        batches = {name: self._around.sinks[name].encode(kept, metadata) for name in self._around.sink_names()}
        return _Finished(batches, len(records) - len(kept))

    async def _unseen(self, page: Page) -> list[Record]:
        if not page.overlaps:
            self._seen = None
            return page.records
        if self._seen is None:
            self._seen = SeenIds(await self._around.outbox.seen(self.key))
        return self._seen.leave_out(page.records)

    async def _well(self, page: Page, receipt_ms: int) -> None:
        status = self.status
        status.state, status.error = State.COLLECTING, None
        status.last_success_ms = receipt_ms
        newest = max((record.time_ms for record in page.records if record.time_ms is not None), default=None)
        complete = page.complete_to_ms or (newest if page.more else receipt_ms)
        if complete is not None:
            status.complete_to_ms = min(complete, receipt_ms)
        await self._around.health.close(self._around.resource, place=self.key.stream)
        await self._around.health.warn(self._around.resource, page.notices, place=self.key.stream)

    async def _retried(self, attempt: Callable[[], Awaitable[T]], policy: RetryPolicy, on: type[CollectordError]) -> T:
        return await retry(attempt, policy, on=on, sleep=self.nap.sleep, report=self._report)

    async def _report(self, failure: Failure) -> None:
        await self._trouble(failure.error)
        self._plan(failure.next_wait_seconds)

    async def _trouble(self, error: CollectordError) -> None:
        self.status.state, self.status.error = State.ERROR, error
        await self._around.health.open(self._around.resource, error, place=self.key.stream)

    async def _given_up(self, gave_up: GaveUp) -> CollectordError:
        await self._trouble(gave_up.error)
        self._around.health.give_up(self._around.resource, gave_up.error, place=self.key.stream)
        return gave_up.error


class SeenIds:
    """The ids that a stream remembers, page by page, so that the oldest can be forgotten."""

    def __init__(self, pages: Iterable[SeenPage]) -> None:
        self._pages = list(pages)
        self._ids = {id_ for page in self._pages for id_ in page.ids}

    def leave_out(self, records: Iterable[Record]) -> list[Record]:
        """The records whose id is not known; of two with the same id, the first."""
        fresh: dict[str, Record] = {}
        for record in records:
            if record.id not in self._ids:
                fresh.setdefault(record.id, record)
        return list(fresh.values())

    def remember(self, page: SeenPage | None, forget_before_ms: int) -> None:
        """Add a page's ids, and drop the pages that are older than need be."""
        if page is not None:
            self._pages.append(page)
            self._ids.update(page.ids)
        # A page is not always newer than the one before it, so each is looked at: there are some hundreds at most.
        for old in (page for page in self._pages if page.newest_ms < forget_before_ms):
            self._ids.difference_update(old.ids)
        self._pages = [page for page in self._pages if page.newest_ms >= forget_before_ms]


def _to_remember(records: Sequence[Record], from_ms: int, receipt_ms: int) -> SeenPage | None:
    """The ids of the records that are not older than `from_ms`; a record without a time is as old as its receipt."""
    times = [receipt_ms if record.time_ms is None else record.time_ms for record in records]
    ids = [record.id for record, time_ms in zip(records, times, strict=True) if time_ms >= from_ms]
    return SeenPage(max(times), ids) if ids else None
